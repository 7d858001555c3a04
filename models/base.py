"""The declarative bases, the metadata and the versions of the schema."""

from typing import Final

from sqlalchemy import MetaData, inspect
from sqlalchemy.orm import DeclarativeBase

EXPECTED_SCHEMA_VERSION: Final = 5
"""The schema version of the message log that this release reads and writes.

The version and the tables are the agent framework's: threadlog adds no column to them.
"""

GRAPH_SCHEMA_VERSION: Final = 1
"""The schema version of the graph state that this release reads and writes."""

STORE_SCHEMA_VERSION: Final = 1
"""The schema version of the memory store that this release reads and writes."""

CONTROL_SCHEMA_VERSION: Final = 1
"""The schema version of thread control that this release reads and writes."""

METADATA_SCHEMA_VERSION: Final = 1
"""The schema version of the server metadata that this release reads and writes."""
SEARCH_SCHEMA_VERSION: Final = 1
"""The schema version of the search index that this release reads and writes."""

cubepi_metadata: Final = MetaData()
"""The five tables of the message log, for ``target_metadata`` of an Alembic environment."""

graph_metadata: Final = MetaData()
"""The five tables of the graph state, for ``target_metadata`` too."""

store_metadata: Final = MetaData()
"""The two tables of the memory store, for ``target_metadata`` too."""

control_metadata: Final = MetaData()
"""The five tables of thread control, for ``target_metadata`` too."""

server_metadata: Final = MetaData()
"""The three tables of an agent server's threads and runs, for ``target_metadata`` too."""
search_metadata: Final = MetaData()
"""The two tables of the search index, for ``target_metadata`` too."""


class _KeyRepr:
    """Mixin whose repr has only the primary key."""

    def __repr__(self) -> str:
        """Return the class and the primary key; never a message's content."""
        key = ", ".join(map(repr, inspect(self).identity or ("not stored",)))
        return f"{type(self).__name__}({key})"


class Base(_KeyRepr, DeclarativeBase):
    """Base of the message log's mapped classes."""

    metadata = cubepi_metadata


class GraphBase(_KeyRepr, DeclarativeBase):
    """Base of the graph state's mapped classes."""

    metadata = graph_metadata


class StoreBase(_KeyRepr, DeclarativeBase):
    """Base of the memory store's mapped classes."""

    metadata = store_metadata


class ControlBase(_KeyRepr, DeclarativeBase):
    """Base of thread control's mapped classes."""

    metadata = control_metadata


class ServerBase(_KeyRepr, DeclarativeBase):
    """Base of the server metadata's mapped classes."""

    metadata = server_metadata


class SearchBase(_KeyRepr, DeclarativeBase):
    """Base of the search index's mapped classes."""

    metadata = search_metadata
