"""The version that the schema says it has."""

from typing import Final

from sqlalchemy import Table, delete, insert, select
from sqlalchemy.orm import Session

from threadlog.models import EXPECTED_SCHEMA_VERSION, SchemaVersion

_TABLE: Final[Table] = SchemaVersion.metadata.tables[SchemaVersion.__tablename__]


class SchemaVersionRepository:
    """Statements on the version table, bound to one session."""

    def __init__(self, session: Session) -> None:
        """Bind to a session."""
        self._session = session

    def read(self) -> list[int]:
        """Read every version that the table holds, lowest first; the table must exist."""
        return list(self._session.scalars(select(_TABLE.c.version).order_by(_TABLE.c.version)))

    def write(self) -> None:
        """Make the table hold this release's version and no other."""
        self._session.execute(delete(_TABLE))
        self._session.execute(insert(_TABLE).values(version=EXPECTED_SCHEMA_VERSION))
