"""The graph state, schema version 1, for a database that is empty or already has it.

Frozen: this file and version 1 in `threadlog.migrations.history.graph_state` never change with
the models. `threadlog.migrations.alembic.steps` documents which tables are created, completed,
adopted and refused.
"""

from alembic import op
from alembic.operations import Operations

from threadlog.migrations.alembic.steps import create_schema, drop_schema
from threadlog.migrations.history.graph_state import GRAPH_STATE

revision = "graph0001"
down_revision = None


def upgrade() -> None:
    """Create those of the five tables that are missing, then write the version row.

    Raises:
        CubepiSchemaMismatch: the database has tables that are not of version 1; nothing was
            changed.
    """
    create_schema(Operations(op.get_context()), 1, GRAPH_STATE)


def downgrade() -> None:
    """Drop the five tables and all their rows."""
    drop_schema(Operations(op.get_context()), 1, GRAPH_STATE)
