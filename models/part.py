"""The two parts of the schema; a database may have either or both."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy import MetaData, Table

from threadlog.models.app_run import AppRun
from threadlog.models.app_thread import AppThread
from threadlog.models.base import (
    EXPECTED_SCHEMA_VERSION,
    GRAPH_SCHEMA_VERSION,
    cubepi_metadata,
    graph_metadata,
)
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.checkpoint_blob import CheckpointBlob
from threadlog.models.checkpoint_write import CheckpointWrite
from threadlog.models.graph_version import GraphVersion
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.message import Message
from threadlog.models.run import Run
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.thread import Thread

PartName: TypeAlias = Literal["messages", "graph"]


@dataclass(frozen=True, slots=True)
class SchemaPart:
    """Tables that are created, versioned and verified together."""

    name: PartName
    metadata: MetaData
    version: int
    """The version that this release reads and writes."""

    version_table: Table
    """The table whose single row has the database's version."""

    revision_table: str
    """Alembic's version table of ``threadlog migrate``, separate from the application's."""

    @property
    def tables(self) -> frozenset[str]:
        """The names of the part's tables."""
        return frozenset(self.metadata.tables)


MESSAGES: Final = SchemaPart(
    "messages",
    cubepi_metadata,
    EXPECTED_SCHEMA_VERSION,
    cubepi_metadata.tables[SchemaVersion.__tablename__],
    "threadlog_alembic_version",
)
"""The message log."""

GRAPH: Final = SchemaPart(
    "graph",
    graph_metadata,
    GRAPH_SCHEMA_VERSION,
    graph_metadata.tables[GraphVersion.__tablename__],
    "threadlog_graph_alembic_version",
)
"""Checkpoints of graphs, and the threads and runs of agent servers."""

PARTS: Final = (MESSAGES, GRAPH)

# Imported so that the metadata above have all tables.
_MAPPED: Final = (
    *(Thread, Message, Run, HitlAnswer, SchemaVersion),
    *(Checkpoint, CheckpointBlob, CheckpointWrite, AppThread, AppRun, GraphVersion),
)
