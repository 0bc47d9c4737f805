"""The embedded foundation model: readable statements about fields, numbers and words."""
