"""Create threadlog's tables at schema version 5.

Upgrade tables of the agent framework's migrations instead, for example by
``op.upgrade_threadlog_schema(from_version=3, to_version=5)``.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create threadlog's tables; run again after a failure, it continues."""
    op.create_threadlog_schema(version=5)  # type: ignore[attr-defined]  # made by the plugin


def downgrade() -> None:
    """Drop them, with all conversations."""
    op.drop_threadlog_schema(version=5)  # type: ignore[attr-defined]  # made by the plugin
