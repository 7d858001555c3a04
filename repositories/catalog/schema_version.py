"""The stored version of a part of the schema."""

from sqlalchemy import delete, insert, select

from threadlog.models import SchemaPart
from threadlog.repositories.base import Executor, Repository


class SchemaVersionRepository(Repository):
    """Statements on a part's version table, bound to one session."""

    def __init__(self, uow: Executor, part: SchemaPart) -> None:
        super().__init__(uow)
        self._part = part

    def read(self) -> list[int]:
        """Return every version in the table, lowest first; the table must exist."""
        version = self._part.version_table.c.version
        return list(self.uow.execute(select(version).order_by(version)).scalars())

    def write(self) -> None:
        """Replace the content of the table by this release's version."""
        table = self._part.version_table
        self.uow.execute(delete(table).where(table.c.version >= 0))
        self.uow.execute(insert(table).values(version=self._part.version))
