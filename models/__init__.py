"""The ORM classes of the message log and of the graph state.

Applications query these classes with their own sessions, and pass `cubepi_metadata`,
`graph_metadata` or both to Alembic::

    select(Message).where(Message.metadata_["user"].as_string() == "u1")
"""

from threadlog.models.app_run import AppRun
from threadlog.models.app_thread import AppThread
from threadlog.models.base import (
    EXPECTED_SCHEMA_VERSION,
    GRAPH_SCHEMA_VERSION,
    Base,
    GraphBase,
    cubepi_metadata,
    graph_metadata,
)
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.checkpoint_blob import CheckpointBlob
from threadlog.models.checkpoint_write import CheckpointWrite
from threadlog.models.dialects.ddl import PARTITION_COUNT
from threadlog.models.graph_version import GraphVersion
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.message import Message
from threadlog.models.metadata_column import metadata_column
from threadlog.models.part import GRAPH, MESSAGES, PARTS, PartName, SchemaPart
from threadlog.models.run import Run
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.thread import Thread

__all__ = [
    "EXPECTED_SCHEMA_VERSION",
    "GRAPH",
    "GRAPH_SCHEMA_VERSION",
    "MESSAGES",
    "PARTITION_COUNT",
    "PARTS",
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
    "Thread",
    "cubepi_metadata",
    "graph_metadata",
    "metadata_column",
]
