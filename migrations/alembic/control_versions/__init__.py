"""Frozen revisions of thread control. A released revision never changes."""
