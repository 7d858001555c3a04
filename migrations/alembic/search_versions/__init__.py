"""Frozen revisions of the search index. A released revision never changes."""
