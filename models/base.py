"""The declarative base and what is said of the schema as a whole."""

from typing import Final

from sqlalchemy import MetaData, inspect
from sqlalchemy.orm import DeclarativeBase

EXPECTED_SCHEMA_VERSION: Final = 5
"""The schema version that this release reads and writes."""

cubepi_metadata: Final = MetaData()
"""All five tables, for ``target_metadata`` of a host's Alembic environment."""


class Base(DeclarativeBase):
    """Base of the mapped classes; its tables are those of `cubepi_metadata`."""

    metadata = cubepi_metadata

    def __repr__(self) -> str:
        """Show the class and the primary key; never what was said."""
        key = ", ".join(map(repr, inspect(self).identity or ("not stored",)))
        return f"{type(self).__name__}({key})"
