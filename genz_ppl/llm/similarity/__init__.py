"""The embedded model for free text: is any sentence close in meaning to a phrase?"""
