"""Runs whose targets are embeddings of ratings: cold start and warm start."""
