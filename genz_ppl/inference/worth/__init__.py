"""What a feature is worth to the bound."""
