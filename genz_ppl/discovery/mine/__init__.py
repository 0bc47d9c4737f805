"""Mining: contrasts, proposals, screening, and the expand-contract cycle."""
