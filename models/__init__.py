"""The ORM classes of the parts of the schema, from the message log to the search index.

Applications query these classes with their own sessions, and pass `cubepi_metadata`,
`graph_metadata`, `store_metadata`, `control_metadata`, `server_metadata`, `search_metadata` or
several of them to
Alembic::

    select(Message).where(Message.metadata_["user"].as_string() == "u1")
"""

from threadlog.models.app_run import AppRun
from threadlog.models.app_thread import AppThread
from threadlog.models.append_key import AppendKey
from threadlog.models.base import (
    CONTROL_SCHEMA_VERSION,
    EXPECTED_SCHEMA_VERSION,
    GRAPH_SCHEMA_VERSION,
    METADATA_SCHEMA_VERSION,
    SEARCH_SCHEMA_VERSION,
    STORE_SCHEMA_VERSION,
    Base,
    ControlBase,
    GraphBase,
    SearchBase,
    ServerBase,
    StoreBase,
    control_metadata,
    cubepi_metadata,
    graph_metadata,
    search_metadata,
    server_metadata,
    store_metadata,
)
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.checkpoint_blob import CheckpointBlob
from threadlog.models.checkpoint_write import CheckpointWrite
from threadlog.models.control_version import ControlVersion
from threadlog.models.dialects.ddl import PARTITION_COUNT
from threadlog.models.dialects.full_text import matches
from threadlog.models.graph_version import GraphVersion
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.lease import Lease
from threadlog.models.message import Message
from threadlog.models.metadata_column import metadata_column
from threadlog.models.metadata_version import MetadataVersion
from threadlog.models.owner import Owner
from threadlog.models.part import (
    ALL_PARTS,
    CONTROL,
    GRAPH,
    MESSAGES,
    METADATA,
    PARTS,
    SEARCH,
    STORE,
    PartName,
    SchemaPart,
)
from threadlog.models.run import Run
from threadlog.models.schema_version import SchemaVersion
from threadlog.models.search_row import SearchMessage, SearchRow, SearchToolCall
from threadlog.models.search_version import SearchVersion
from threadlog.models.store_item import StoreItem
from threadlog.models.store_version import StoreVersion
from threadlog.models.thread import Thread
from threadlog.models.truncation import Truncation
from threadlog.models.write_owner import WriteOwner

__all__ = [
    "ALL_PARTS",
    "CONTROL",
    "CONTROL_SCHEMA_VERSION",
    "EXPECTED_SCHEMA_VERSION",
    "GRAPH",
    "GRAPH_SCHEMA_VERSION",
    "MESSAGES",
    "METADATA",
    "METADATA_SCHEMA_VERSION",
    "PARTITION_COUNT",
    "PARTS",
    "SEARCH",
    "SEARCH_SCHEMA_VERSION",
    "STORE",
    "STORE_SCHEMA_VERSION",
    "AppRun",
    "AppThread",
    "AppendKey",
    "Base",
    "Checkpoint",
    "CheckpointBlob",
    "CheckpointWrite",
    "ControlBase",
    "ControlVersion",
    "GraphBase",
    "GraphVersion",
    "HitlAnswer",
    "Lease",
    "Message",
    "MetadataVersion",
    "Owner",
    "PartName",
    "Run",
    "SchemaPart",
    "SchemaVersion",
    "SearchBase",
    "SearchMessage",
    "SearchRow",
    "SearchToolCall",
    "SearchVersion",
    "ServerBase",
    "StoreBase",
    "StoreItem",
    "StoreVersion",
    "Thread",
    "Truncation",
    "WriteOwner",
    "control_metadata",
    "cubepi_metadata",
    "graph_metadata",
    "matches",
    "metadata_column",
    "search_metadata",
    "server_metadata",
    "store_metadata",
]
