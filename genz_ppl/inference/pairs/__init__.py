"""Inference for the co-occurrence of two sets of items (Appendix C)."""

from genz_ppl.inference.pairs.result import CoOccurrenceFit, SideFit, fit_cooccurrence

__all__ = ["CoOccurrenceFit", "SideFit", "fit_cooccurrence"]
