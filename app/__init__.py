"""threadlog keeps what an AI agent must not lose in the SQL database a team already runs."""

from threadlog.checkpointer import Checkpointer, MySQLCheckpointer
from threadlog.codec import MESSAGE_CODEC, MessageCodec
from threadlog.errors import ThreadlogError
from threadlog.values import CheckpointData, StoredMessage, ThreadSummary

__all__ = [
    "MESSAGE_CODEC",
    "CheckpointData",
    "Checkpointer",
    "MessageCodec",
    "MySQLCheckpointer",
    "StoredMessage",
    "ThreadSummary",
    "ThreadlogError",
]
