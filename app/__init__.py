"""threadlog keeps what an AI agent must not lose in the SQL database a team already runs."""

from threadlog.checkpointer import (
    BoundCheckpointer,
    Checkpointer,
    MariaDBCheckpointer,
    MessageLog,
    MySQLCheckpointer,
    PostgresCheckpointer,
    ScopedCheckpointer,
)
from threadlog.database import Database, SyncDatabase
from threadlog.databases.mysql.failover import follow_primary
from threadlog.erasing import Erased
from threadlog.errors import ThreadlogError
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.hitl_request import HitlRequest
from threadlog.log.message_codec import MESSAGE_CODEC, MessageCodec
from threadlog.log.reading import END_OF_THREAD
from threadlog.log.results import (
    CheckpointData,
    Claim,
    PruneSummary,
    RunSummary,
    StoredMessage,
    ThreadSummary,
    TruncationSummary,
)
from threadlog.observing import observe
from threadlog.sync_checkpointer import (
    SyncBoundCheckpointer,
    SyncCheckpointer,
    SyncMessageLog,
    SyncScopedCheckpointer,
)

Vocabulary = FrameworkTypes
"""The former name of `FrameworkTypes`."""

__all__ = [
    "END_OF_THREAD",
    "MESSAGE_CODEC",
    "BoundCheckpointer",
    "CheckpointData",
    "Checkpointer",
    "Claim",
    "Database",
    "Erased",
    "FrameworkTypes",
    "HitlRequest",
    "MariaDBCheckpointer",
    "MessageCodec",
    "MessageLog",
    "MySQLCheckpointer",
    "PostgresCheckpointer",
    "PruneSummary",
    "RunSummary",
    "ScopedCheckpointer",
    "StoredMessage",
    "SyncBoundCheckpointer",
    "SyncCheckpointer",
    "SyncDatabase",
    "SyncMessageLog",
    "SyncScopedCheckpointer",
    "ThreadSummary",
    "ThreadlogError",
    "TruncationSummary",
    "Vocabulary",
    "follow_primary",
    "observe",
]
