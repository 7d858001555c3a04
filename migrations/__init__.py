"""Alembic environment, frozen revisions, and helpers for hosts' own migrations."""
