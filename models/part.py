"""The parts of the schema; a database may have any of them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, MetaData, Table, event, insert, literal_column
from sqlalchemy.orm import DeclarativeBase

from threadlog.models import (  # noqa: F401 - they add their tables to the metadata
    app_run,
    checkpoint_blob,
    checkpoint_write,
    deletion,
    tables,
)
from threadlog.models.app_thread import AppThread
from threadlog.models.base import (
    CONTROL_SCHEMA_VERSION,
    EXPECTED_SCHEMA_VERSION,
    GRAPH_SCHEMA_VERSION,
    METADATA_SCHEMA_VERSION,
    SEARCH_SCHEMA_VERSION,
    STORE_SCHEMA_VERSION,
    control_metadata,
    cubepi_metadata,
    graph_metadata,
    search_metadata,
    server_metadata,
    store_metadata,
)
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.control_version import ControlVersion
from threadlog.models.graph_version import GraphVersion
from threadlog.models.metadata_version import MetadataVersion
from threadlog.models.owner import Owner
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.search_row import SearchRow
from threadlog.models.search_version import SearchVersion
from threadlog.models.store_item import StoreItem
from threadlog.models.store_version import StoreVersion
from threadlog.models.thread import Thread

PartName: TypeAlias = Literal["messages", "graph", "store", "control", "metadata", "search"]


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

    main_class: type[DeclarativeBase]
    """The mapped class by which a session with several engines finds that of the part."""

    partitioned: bool = False
    """True if some of the tables have `PARTITION_COUNT` partitions."""

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
    Thread,
    partitioned=True,
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
"""Checkpoints of graphs."""

STORE: Final = SchemaPart(
    "store",
    store_metadata,
    STORE_SCHEMA_VERSION,
    store_metadata.tables[StoreVersion.__tablename__],
    "threadlog_store_alembic_version",
    StoreItem,
)
"""Items of the memory store."""

CONTROL: Final = SchemaPart(
    "control",
    control_metadata,
    CONTROL_SCHEMA_VERSION,
    control_metadata.tables[ControlVersion.__tablename__],
    "threadlog_control_alembic_version",
    Owner,
)
"""Owners of threads, leases of runs, keys of appends, and truncations; needs the message log."""

METADATA: Final = SchemaPart(
    "metadata",
    server_metadata,
    METADATA_SCHEMA_VERSION,
    server_metadata.tables[MetadataVersion.__tablename__],
    "threadlog_metadata_alembic_version",
    AppThread,
)
"""The threads and runs of agent servers. The last part: an application may have such tables."""

SEARCH: Final = SchemaPart(
    "search",
    search_metadata,
    SEARCH_SCHEMA_VERSION,
    search_metadata.tables[SearchVersion.__tablename__],
    "threadlog_search_alembic_version",
    SearchRow,
)
"""Text, tools and tokens of messages, for queries; needs the message log."""

PARTS: Final = (MESSAGES, GRAPH, STORE, CONTROL, METADATA)
"""The parts that a migration creates unless it is asked for one."""

ALL_PARTS: Final = (*PARTS, SEARCH)
"""All parts; the last is created only if it is asked for by name."""


def _write_version(version: int, table: Table, connection: Connection, **_: Any) -> None:
    """Insert the version of a version table that was created from the models.

    A literal, so that a script which SQLAlchemy's mock engine writes is complete.
    """
    connection.execute(insert(table).inline().values(version=literal_column(str(version))))


def _version_at_creation(part: SchemaPart) -> None:
    """Order ``metadata.create_all`` to create the version table last, and its row with it."""
    for table in part.metadata.tables.values():
        if table is not part.version_table:
            part.version_table.add_is_dependent_on(table)
    write = partial(_write_version, part.version)
    event.listen(part.version_table, "after_create", write, propagate=True)  # to copies


for _part in ALL_PARTS:
    _version_at_creation(_part)
