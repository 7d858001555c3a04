"""Check and convert values."""
