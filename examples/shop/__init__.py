"""A shop that keeps its orders and the conversations about them in one transaction."""
