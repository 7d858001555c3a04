"""Frozen revisions: each is written once and never changed."""
