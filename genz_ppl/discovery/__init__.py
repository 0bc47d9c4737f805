"""Finding the features: contrasts, proposals, the add and prune cycle, and the run directory."""
