"""${message}.

Frozen: write every definition here and import nothing from threadlog.models.
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Upgrade the schema; each step must be safe to run again, since MySQL commits it."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Revert `upgrade`."""
    ${downgrades if downgrades else "pass"}
