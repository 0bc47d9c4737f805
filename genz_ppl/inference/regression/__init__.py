"""Effects as regression coefficients of what is true of items, with intervals that survive wrong answers."""
