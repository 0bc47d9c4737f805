"""The store of answers in PostgreSQL, which any number of hosts share."""
