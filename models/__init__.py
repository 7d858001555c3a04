"""The ORM classes of the message log, of the graph state and of the memory store.

Applications query these classes with their own sessions, and pass `cubepi_metadata`,
`graph_metadata`, `store_metadata` or several of them to Alembic::

    select(Message).where(Message.metadata_["user"].as_string() == "u1")
"""

from threadlog.models.app_run import AppRun
from threadlog.models.app_thread import AppThread
from threadlog.models.base import (
    EXPECTED_SCHEMA_VERSION,
    GRAPH_SCHEMA_VERSION,
    STORE_SCHEMA_VERSION,
    Base,
    GraphBase,
    StoreBase,
    cubepi_metadata,
    graph_metadata,
    store_metadata,
)
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.checkpoint_blob import CheckpointBlob
from threadlog.models.checkpoint_write import CheckpointWrite
from threadlog.models.dialects.ddl import PARTITION_COUNT
from threadlog.models.graph_version import GraphVersion
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.message import Message
from threadlog.models.metadata_column import metadata_column
from threadlog.models.part import GRAPH, MESSAGES, PARTS, STORE, PartName, SchemaPart
from threadlog.models.run import Run
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.store_item import StoreItem
from threadlog.models.store_version import StoreVersion
from threadlog.models.thread import Thread

__all__ = [
    "EXPECTED_SCHEMA_VERSION",
    "GRAPH",
    "GRAPH_SCHEMA_VERSION",
    "MESSAGES",
    "PARTITION_COUNT",
    "PARTS",
    "STORE",
    "STORE_SCHEMA_VERSION",
    "AppRun",
    "AppThread",
    "Base",
    "Checkpoint",
    "CheckpointBlob",
    "CheckpointWrite",
    "GraphBase",
    "GraphVersion",
    "HitlAnswer",
    "Message",
    "PartName",
    "Run",
    "SchemaPart",
    "SchemaVersion",
    "StoreBase",
    "StoreItem",
    "StoreVersion",
    "Thread",
    "cubepi_metadata",
    "graph_metadata",
    "metadata_column",
    "store_metadata",
]
