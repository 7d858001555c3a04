"""The Alembic environment and revisions of ``threadlog migrate``."""
