"""Create, upgrade and downgrade the schema from Python; ``threadlog migrate`` does the same."""

from threadlog.schema.migrate import downgrade, upgrade, upgrade_sql

__all__ = ["downgrade", "upgrade", "upgrade_sql"]
