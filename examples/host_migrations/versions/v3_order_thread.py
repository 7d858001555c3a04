"""Add the conversation of an order."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and its index."""
    op.add_column("orders", sa.Column("thread_id", sa.String(255), nullable=True))
    op.create_index("ix_orders_thread_id", "orders", ["thread_id"])


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_orders_thread_id", "orders")
    op.drop_column("orders", "thread_id")
