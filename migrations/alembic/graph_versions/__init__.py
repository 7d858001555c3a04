"""Frozen revisions of the graph state: each is written once and never changed."""
