"""The graph state: schema version 1, in a database that is empty or holds it already.

Frozen: this file and what `threadlog.migrations.history.graph_state` says of version 1 never change
with the models. What is created, completed, adopted and refused is said there and in
`threadlog.migrations.alembic.steps`.
"""

from alembic import op
from alembic.operations import Operations

from threadlog.migrations.alembic.steps import create_schema, drop_schema
from threadlog.migrations.history.graph_state import GRAPH_STATE

revision = "graph0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what is missing of the six tables, then write the version row.

    Raises:
        CubepiSchemaMismatch: the database holds tables that are not of version 1; nothing
            was changed.
    """
    create_schema(Operations(op.get_context()), 1, GRAPH_STATE)


def downgrade() -> None:
    """Drop the six tables with all that they hold."""
    drop_schema(Operations(op.get_context()), 1, GRAPH_STATE)
