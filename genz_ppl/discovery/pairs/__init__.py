"""Discovery on two sets of items at once, from the pairs observed between them (Appendix C)."""
