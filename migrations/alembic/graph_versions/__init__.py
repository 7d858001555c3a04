"""Frozen revisions of the graph state. A released revision never changes."""
