"""threadlog keeps what an AI agent must not lose in the SQL database a team already runs."""

from threadlog.checkpointer import (
    Checkpointer,
    MariaDBCheckpointer,
    MySQLCheckpointer,
    PostgresCheckpointer,
)
from threadlog.databases.mysql.failover import follow_primary
from threadlog.errors import ThreadlogError
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.hitl_request import HitlRequest
from threadlog.log.message_codec import MESSAGE_CODEC, MessageCodec
from threadlog.log.results import CheckpointData, RunSummary, StoredMessage, ThreadSummary
from threadlog.sync_checkpointer import SyncCheckpointer

Vocabulary = FrameworkTypes
"""The former name of `FrameworkTypes`."""

__all__ = [
    "MESSAGE_CODEC",
    "CheckpointData",
    "Checkpointer",
    "FrameworkTypes",
    "HitlRequest",
    "MariaDBCheckpointer",
    "MessageCodec",
    "MySQLCheckpointer",
    "PostgresCheckpointer",
    "RunSummary",
    "StoredMessage",
    "SyncCheckpointer",
    "ThreadSummary",
    "ThreadlogError",
    "Vocabulary",
    "follow_primary",
]
