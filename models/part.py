"""The two parts of the schema, each of which a database may have without the other."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import DeclarativeBase

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
    """The table whose one row says which version the database has."""

    revision_table: str
    """Where Alembic keeps the revision of ``threadlog migrate``: not in the host's table."""

    main_class: type[DeclarativeBase]
    """The mapped class by which a session with several engines finds that of the part."""

    @property
    def tables(self) -> frozenset[str]:
        """The names of its tables."""
        return frozenset(self.metadata.tables)


MESSAGES: Final = SchemaPart(
    "messages",
    cubepi_metadata,
    EXPECTED_SCHEMA_VERSION,
    cubepi_metadata.tables[SchemaVersion.__tablename__],
    "threadlog_alembic_version",
    Thread,
)
"""The message log."""

GRAPH: Final = SchemaPart(
    "graph",
    graph_metadata,
    GRAPH_SCHEMA_VERSION,
    graph_metadata.tables[GraphVersion.__tablename__],
    "threadlog_graph_alembic_version",
    Checkpoint,
)
"""Checkpoints of graphs, and the rows of threads and runs beside them."""

PARTS: Final = (MESSAGES, GRAPH)

# Imported so that the metadata above are whole.
_MAPPED: Final = (
    *(Thread, Message, Run, HitlAnswer, SchemaVersion),
    *(Checkpoint, CheckpointBlob, CheckpointWrite, AppThread, AppRun, GraphVersion),
)
