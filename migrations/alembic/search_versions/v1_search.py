"""Search index, schema version 1, for a database that is empty or already has it.

Frozen: this file and version 1 in `threadlog.migrations.history.search` never change with
the models. `threadlog.migrations.alembic.steps` documents which tables are created, completed,
adopted and refused.
"""

from alembic import op
from alembic.operations import Operations

from threadlog.migrations.alembic.steps import create_schema, drop_schema
from threadlog.migrations.history.search import SEARCH

revision = "search0001"
down_revision = None


def upgrade() -> None:
    """Create those of the two tables that are missing, then write the version row.

    Raises:
        CubepiSchemaMismatch: the database has tables that are not of version 1; nothing was
            changed.
    """
    create_schema(Operations(op.get_context()), 1, SEARCH)


def downgrade() -> None:
    """Drop the two tables and all their rows."""
    drop_schema(Operations(op.get_context()), 1, SEARCH)
