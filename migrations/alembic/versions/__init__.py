"""Frozen revisions of the message log: each is written once and never changed."""
