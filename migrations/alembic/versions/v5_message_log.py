"""The message log: schema version 5, in a database that is empty or holds it already.

Frozen: this file and what `threadlog.migrations.history.message_log` says of version 5 never change
with the models. What is created, completed, adopted and refused is said there and in
`threadlog.migrations.alembic.steps`.
"""

from alembic import op
from alembic.operations import Operations

from threadlog.migrations.alembic.steps import create_schema, drop_schema

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what is missing of the five tables, then write the version row.

    Raises:
        CubepiSchemaMismatch: the database holds tables that are not of version 5; nothing
            was changed.
    """
    create_schema(Operations(op.get_context()), 5)


def downgrade() -> None:
    """Drop the five tables with all that they hold."""
    drop_schema(Operations(op.get_context()), 5)
