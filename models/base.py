"""The declarative bases and what is said of the schema as a whole."""

from typing import Final

from sqlalchemy import MetaData, inspect
from sqlalchemy.orm import DeclarativeBase

EXPECTED_SCHEMA_VERSION: Final = 5
"""The schema version of the message log that this release reads and writes."""

GRAPH_SCHEMA_VERSION: Final = 1
"""The schema version of the graph state that this release reads and writes."""

cubepi_metadata: Final = MetaData()
"""The five tables of the message log, for ``target_metadata`` of a host's Alembic environment."""

graph_metadata: Final = MetaData()
"""The six tables of the graph state, for ``target_metadata`` too."""


class _ShowsItsKey:
    """What objects of mapped classes look like to people."""

    def __repr__(self) -> str:
        """Show the class and the primary key; never what was said."""
        key = ", ".join(map(repr, inspect(self).identity or ("not stored",)))
        return f"{type(self).__name__}({key})"


class Base(_ShowsItsKey, DeclarativeBase):
    """Base of the mapped classes of the message log."""

    metadata = cubepi_metadata


class GraphBase(_ShowsItsKey, DeclarativeBase):
    """Base of the mapped classes of the graph state."""

    metadata = graph_metadata
