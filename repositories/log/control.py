"""Thread control: owners of threads and keys of appends."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_

from threadlog.models.dialects.time import utc_now
from threadlog.models.tables import APPEND_KEYS, OWNERS
from threadlog.repositories.base import Repository, rowcount


class OwnerRepository(Repository):
    """Statements on owners of threads, bound to one session."""

    def insert(self, thread_id: str, owner: str) -> None:
        """Store the owner of a thread that has none; the caller holds its lock."""
        self.uow.execute(insert(OWNERS), {"thread_id": thread_id, "owner": owner})


class AppendKeyRepository(Repository):
    """Statements on keys of appends, bound to one session."""

    def insert(self, thread_id: str, key: str, first_seq: int, last_seq: int) -> None:
        """Store the key of an append; the caller holds the thread's lock."""
        values = {
            "thread_id": thread_id,
            "append_key": key,
            "first_seq": first_seq,
            "last_seq": last_seq,
        }
        self.uow.execute(insert(APPEND_KEYS).values(created_at=utc_now(self.uow.dialect)), values)

    def old(self, seconds: float, limit: int) -> list[tuple[str, str]]:
        """Return pairs of a thread and a key that were stored so many seconds ago or earlier."""
        found = select(APPEND_KEYS.c.thread_id, APPEND_KEYS.c.append_key).limit(limit)
        rows = self.uow.execute(found.where(self._is_old(seconds)))
        return [(row[0], row[1]) for row in rows]

    def count_old(self, seconds: float) -> int:
        """Return the number of keys that were stored so many seconds ago or earlier."""
        found = select(func.count()).select_from(APPEND_KEYS).where(self._is_old(seconds))
        return int(self.uow.execute(found).scalar() or 0)

    def delete(self, keys: Sequence[tuple[str, str]]) -> int:
        """Delete keys, pairs of a thread and a key, and return their number."""
        key = tuple_(APPEND_KEYS.c.thread_id, APPEND_KEYS.c.append_key)
        return rowcount(self.uow.execute(delete(APPEND_KEYS).where(key.in_(keys))))

    def _is_old(self, seconds: float) -> ColumnElement[bool]:
        return APPEND_KEYS.c.created_at <= utc_now(self.uow.dialect, seconds_ago=seconds)
