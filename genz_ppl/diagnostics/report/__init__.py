"""Reports: facts first, then words and charts, then one HTML file."""
