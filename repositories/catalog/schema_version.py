"""The version that a part of the schema says it has."""

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from threadlog.models import SchemaPart


class SchemaVersionRepository:
    """Statements on a part's version table, bound to one session."""

    def __init__(self, session: Session, part: SchemaPart) -> None:
        """Bind to a session."""
        self._session = session
        self._part = part

    def read(self) -> list[int]:
        """Read every version that the table holds, lowest first; the table must exist."""
        version = self._part.version_table.c.version
        return list(self._session.scalars(select(version).order_by(version)))

    def write(self) -> None:
        """Make the table hold this release's version and no other."""
        table = self._part.version_table
        self._session.execute(delete(table))
        self._session.execute(insert(table).values(version=self._part.version))
