"""Finds the yes/no questions about items whose answers explain a target."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("genz-ppl")
