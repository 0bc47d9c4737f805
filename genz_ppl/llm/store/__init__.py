"""The store of answers that all runs share: every answer is paid for once."""
