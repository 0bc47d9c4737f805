"""Inference by Pyro: guides, their bound, and the programs they are trained on."""
