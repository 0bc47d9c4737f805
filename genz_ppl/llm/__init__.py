"""Foundation models: what answers the questions and words new ones."""
