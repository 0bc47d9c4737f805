"""Hand-derived speed: E- and M-steps in closed form, by sums, by plug-in, by enumeration."""
