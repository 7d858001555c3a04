"""The operations by which autogenerate creates a whole part of the schema."""

from typing import Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations

from threadlog.migrations.alembic import steps
from threadlog.migrations.history.control import CONTROL
from threadlog.migrations.history.definitions import Definitions
from threadlog.migrations.history.graph_state import GRAPH_STATE
from threadlog.migrations.history.memory_store import MEMORY_STORE
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.migrations.history.search import SEARCH
from threadlog.migrations.history.server_metadata import SERVER_METADATA
from threadlog.models import PartName, SchemaPart

DEFINITIONS: Final[dict[PartName, Definitions]] = {
    "messages": MESSAGE_LOG,
    "graph": GRAPH_STATE,
    "store": MEMORY_STORE,
    "control": CONTROL,
    "metadata": SERVER_METADATA,
    "search": SEARCH,
}
"""The versions of each part."""

_SCHEMAS: Final[dict[PartName, str]] = {
    "messages": "threadlog_schema",
    "graph": "threadlog_graph_schema",
    "store": "threadlog_store_schema",
    "control": "threadlog_control_schema",
    "metadata": "threadlog_metadata_schema",
    "search": "threadlog_search_schema",
}


class CreatePartOp(MigrateOperation):
    """Creates the tables of a part, as a directive that a person would write."""

    def __init__(self, part: SchemaPart) -> None:
        """Create the operation for a part."""
        self.part = part

    def reverse(self) -> "DropPartOp":
        """Return the operation of the downgrade."""
        return DropPartOp(self.part)

    def to_diff_tuple(self) -> tuple[str, str]:
        """Return the tuple that ``alembic check`` prints."""
        return (f"create_{_SCHEMAS[self.part.name]}", f"version {self.part.version}")


class DropPartOp(MigrateOperation):
    """Drops the tables of a part."""

    def __init__(self, part: SchemaPart) -> None:
        """Create the operation for a part."""
        self.part = part


@Operations.implementation_for(CreatePartOp)
def _create(operations: Operations, op: CreatePartOp) -> None:
    steps.create_schema(operations, op.part.version, DEFINITIONS[op.part.name])


@Operations.implementation_for(DropPartOp)
def _drop(operations: Operations, op: DropPartOp) -> None:
    steps.drop_schema(operations, op.part.version, DEFINITIONS[op.part.name])


@renderers.dispatch_for(CreatePartOp)
def _render_create(context: AutogenContext, op: CreatePartOp) -> str:
    return f"op.create_{_SCHEMAS[op.part.name]}(version={op.part.version})"


@renderers.dispatch_for(DropPartOp)
def _render_drop(context: AutogenContext, op: DropPartOp) -> str:
    return f"op.drop_{_SCHEMAS[op.part.name]}(version={op.part.version})"
