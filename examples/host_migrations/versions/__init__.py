"""The host's history."""
