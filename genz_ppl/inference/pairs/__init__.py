"""Inference for the co-occurrence of two sets of items (Appendix C)."""
