"""Frozen revisions of the message log. A released revision never changes."""
