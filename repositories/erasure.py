"""Rows of a thread in the tables of all parts: their deletion, and what stands in its way."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, delete, select

from threadlog.models.dialects.full_text import purge_index
from threadlog.models.tables import OWNERS, THREADS
from threadlog.repositories.base import Repository, rowcount

_WITH_OWNERS = THREADS.outerjoin(OWNERS, OWNERS.c.thread_id == THREADS.c.thread_id)


class ErasureRepository(Repository):
    """Statements on all tables with rows of a thread, bound to one session."""

    def owner(self, thread_id: str) -> tuple[str | None] | None:
        """Return the owner of a thread in a tuple, without a lock; None if not found."""
        found = self._owners(THREADS.c.thread_id == thread_id)
        return (found[thread_id],) if found else None

    def owner_without_thread(self, thread_id: str) -> tuple[str] | None:
        """Return the owner of a thread whose own row may be missing; None if not found.

        On SQLite whatever enforces no foreign keys can delete the thread's row alone.
        """
        owner = select(OWNERS.c.owner).where(OWNERS.c.thread_id == thread_id)
        found = self.uow.execute(owner).first()
        return None if found is None else (found[0],)

    def forks(self, thread_id: str) -> dict[str, str | None]:
        """Return the forks of a thread, in the order of ids, each with its owner."""
        return self._owners(THREADS.c.parent_thread_id == thread_id)

    def existing(self, thread_ids: Sequence[str]) -> dict[str, str | None]:
        """Return those of the threads that exist, each with its owner."""
        return self._owners(THREADS.c.thread_id.in_(thread_ids))

    def _owners(self, condition: Any) -> dict[str, str | None]:
        found = select(THREADS.c.thread_id).where(condition).order_by(THREADS.c.thread_id)
        if self.uow.has_control:
            found = found.add_columns(OWNERS.c.owner).select_from(_WITH_OWNERS)
        return {row[0]: row[1] if len(row) > 1 else None for row in self.uow.execute(found)}

    def delete(self, table: Table, thread_id: Any) -> int:
        """Delete a thread's rows of a table, and return their number."""
        return rowcount(self.uow.execute(delete(table).where(table.c.thread_id == thread_id)))

    def purge_index(self) -> None:
        """Remove the words of deleted messages from the search index, if it keeps them."""
        statement = purge_index(self.uow.dialect)
        if statement is not None:
            self.uow.execute(statement)
