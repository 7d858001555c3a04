"""Verify, check and migrate the schema."""
