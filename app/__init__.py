"""threadlog keeps what an AI agent must not lose in the SQL database a team already runs."""

from threadlog.backends import follow_primary
from threadlog.checkpointer import (
    Checkpointer,
    MariaDBCheckpointer,
    MySQLCheckpointer,
    PostgresCheckpointer,
)
from threadlog.codec import MESSAGE_CODEC, MessageCodec
from threadlog.errors import ThreadlogError
from threadlog.hitl import HitlRequest
from threadlog.sync_checkpointer import SyncCheckpointer
from threadlog.values import CheckpointData, RunSummary, StoredMessage, ThreadSummary
from threadlog.vocabulary import Vocabulary

__all__ = [
    "MESSAGE_CODEC",
    "CheckpointData",
    "Checkpointer",
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
