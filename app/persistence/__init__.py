"""The threads and runs of an agent server, and the databases that store them.

The import requires no extra; a scheme's packages are imported when it is opened.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:  # extras, see below
    from threadlog.persistence.mongodb_store import MongoMetadataStore
    from threadlog.persistence.settings import PersistenceSettings

__all__ = [
    "CheckpointerSpec",
    "ExpiredThread",
    "InMemoryMetadataStore",
    "MetadataStore",
    "MetadataStoreProtocol",
    "MongoMetadataStore",
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

_OF_EXTRAS: Final = {"MongoMetadataStore": "mongodb_store", "PersistenceSettings": "settings"}


def __getattr__(name: str) -> Any:
    """Import what requires an extra on first use."""
    if name not in _OF_EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"threadlog.persistence.{_OF_EXTRAS[name]}"), name)
