"""Threads and runs as a server of agents lists them, and where it keeps them.

Importing it needs no extra; what a scheme needs is imported when it is opened.
"""

from typing import TYPE_CHECKING, Any

from threadlog.persistence.memory_store import InMemoryMetadataStore
from threadlog.persistence.open import open_checkpointer, open_persistence
from threadlog.persistence.protocol import MetadataStoreProtocol
from threadlog.persistence.registry import (
    CheckpointerSpec,
    Persistence,
    register_checkpointer,
    register_metadata_store,
)
from threadlog.persistence.sql_store import MetadataStore
from threadlog.persistence.sweep import sweep_every
from threadlog.persistence.types import (
    ExpiredThread,
    RunRow,
    Search,
    ThreadRow,
    ThreadSearch,
    ThreadTtl,
    TimeToLive,
)

if TYPE_CHECKING:  # an extra, see below
    from threadlog.persistence.settings import PersistenceSettings

__all__ = [
    "CheckpointerSpec",
    "ExpiredThread",
    "InMemoryMetadataStore",
    "MetadataStore",
    "MetadataStoreProtocol",
    "Persistence",
    "PersistenceSettings",
    "RunRow",
    "Search",
    "ThreadRow",
    "ThreadSearch",
    "ThreadTtl",
    "TimeToLive",
    "open_checkpointer",
    "open_persistence",
    "register_checkpointer",
    "register_metadata_store",
    "sweep_every",
]


def __getattr__(name: str) -> Any:
    """Import the settings when they are asked for: they need pydantic-settings."""
    if name != "PersistenceSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from threadlog.persistence.settings import PersistenceSettings  # noqa: PLC0415 - an extra

    return PersistenceSettings
