"""Alembic autogenerate support for threadlog's tables."""
