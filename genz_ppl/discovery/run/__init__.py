"""One run: what it records, the folder that holds it, and the loop that drives it."""
