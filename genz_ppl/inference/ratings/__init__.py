"""Embeddings and the ratings they come from: fold-in and warm start."""
