"""Steering a run after its end: questions dropped, added, reworded, locked; then a refit."""
