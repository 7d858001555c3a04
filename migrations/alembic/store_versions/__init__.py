"""Frozen revisions of the memory store. A released revision never changes."""
