"""The threads and runs of an agent server, and the databases that store them.

The import requires no extra; a scheme's packages are imported when it is opened.
"""

from typing import TYPE_CHECKING, Any

from threadlog.persistence.expire_threads import sweep_every
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
    """Import the settings on first use: they require pydantic-settings."""
    if name != "PersistenceSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from threadlog.persistence.settings import PersistenceSettings  # noqa: PLC0415 - an extra

    return PersistenceSettings
