"""threadlog keeps what an AI agent must not lose in the SQL database a team already runs."""

from threadlog.checkpointer import (
    BoundCheckpointer,
    Checkpointer,
    MariaDBCheckpointer,
    MessageLog,
    MySQLCheckpointer,
    PostgresCheckpointer,
)
from threadlog.database import Database, SyncDatabase
from threadlog.databases.mysql.failover import follow_primary
from threadlog.errors import ThreadlogError
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.hitl_request import HitlRequest
from threadlog.log.message_codec import MESSAGE_CODEC, MessageCodec
from threadlog.log.results import (
    CheckpointData,
    Claim,
    RunSummary,
    StoredMessage,
    ThreadSummary,
)
from threadlog.observing import observe
from threadlog.sync_checkpointer import (
    SyncBoundCheckpointer,
    SyncCheckpointer,
    SyncMessageLog,
)

Vocabulary = FrameworkTypes
"""The former name of `FrameworkTypes`."""

__all__ = [
    "MESSAGE_CODEC",
    "BoundCheckpointer",
    "CheckpointData",
    "Checkpointer",
    "Claim",
    "Database",
    "FrameworkTypes",
    "HitlRequest",
    "MariaDBCheckpointer",
    "MessageCodec",
    "MessageLog",
    "MySQLCheckpointer",
    "PostgresCheckpointer",
    "RunSummary",
    "StoredMessage",
    "SyncBoundCheckpointer",
    "SyncCheckpointer",
    "SyncDatabase",
    "SyncMessageLog",
    "ThreadSummary",
    "ThreadlogError",
    "Vocabulary",
    "follow_primary",
    "observe",
]
