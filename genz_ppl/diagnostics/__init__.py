"""Checks of a finished run: posterior, comparison, report."""
