"""Frozen revisions of the server metadata. A released revision never changes."""
