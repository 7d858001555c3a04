"""Thread control: owners of threads and keys of appends."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from threadlog.models.dialects.locking import Lock, LockingRead, with_advisory_lock
from threadlog.models.dialects.time import utc_now
from threadlog.models.dialects.upsert import insert_if_absent
from threadlog.models.tables import APPEND_KEYS, OWNERS, THREADS
from threadlog.repositories.base import (
    Repository,
    Statement,
    execute_in_order,
    locking_statements,
    rowcount,
)

_THREAD_ID: Final[BindParameter[str]] = bindparam("thread_id", type_=THREADS.c.thread_id.type)

# In `forked_at_seq` of a thread from its INSERT to the next statement of the same transaction:
# on every database it tells a new thread from one that another transaction has just committed.
_NEW: Final = -1


def _owner(lock: Lock) -> Sequence[ColumnElement[Any]]:
    owner = select(OWNERS.c.owner).where(OWNERS.c.thread_id == bindparam("thread_id"))
    return lock(owner).scalar_subquery(), THREADS.c.forked_at_seq


_LOCK: Final = LockingRead(THREADS, _THREAD_ID, _owner)
_UNMARK: Final = Statement(
    update(THREADS).where(THREADS.c.thread_id == bindparam("id")).values(forked_at_seq=None)
)


class LockedOwner(NamedTuple):
    """The owner of a locked thread."""

    owner: str | None
    """None if the thread has no owner."""

    is_new: bool
    """True if this transaction created the thread."""


class OwnerRepository(Repository):
    """Statements on owners of threads, bound to one session."""

    def lock(self, thread_id: str) -> LockedOwner | None:
        """Lock a thread, and return its owner; None if there is no such thread."""
        return self._read(locking_statements(_LOCK, self.uow.dialect), thread_id)

    def lock_or_create(self, thread_id: str) -> LockedOwner:
        """Lock a thread, creating it if need be, and return its owner.

        Under REPEATABLE READ the row is created before it is read, as in `ThreadRepository`.
        """
        statements = locking_statements(_LOCK, self.uow.dialect)
        found = self._read(statements, thread_id) if self.uow.read_committed else None
        if found is None:
            self.uow.run(_create(self.uow.dialect), {"new": thread_id})
            rest = statements[-1:] if self.uow.read_committed else statements
            found = self._read(rest, thread_id) or LockedOwner(None, is_new=False)
            if found.is_new:
                self.uow.run(_UNMARK, {"id": thread_id})
        return found

    def _read(self, statements: Sequence[Statement], thread_id: str) -> LockedOwner | None:
        row = execute_in_order(self.uow, statements, {"thread_id": thread_id})
        return None if row is None else LockedOwner(row[0], row[1] == _NEW)

    def count(self, owner: str) -> int:
        """Return the number of an owner's threads."""
        rows = select(func.count()).select_from(OWNERS).where(OWNERS.c.owner == owner)
        return self.uow.execute(rows).scalar() or 0

    def threads(self, owner: str, *, after: str | None, limit: int) -> list[str]:
        """Return a page of an owner's threads, in key order; the first page after None."""
        ids = select(OWNERS.c.thread_id).where(OWNERS.c.owner == owner)
        if after is not None:
            ids = ids.where(OWNERS.c.thread_id > after)
        return list(self.uow.execute(ids.order_by(OWNERS.c.thread_id).limit(limit)).scalars())

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


@cache
def _create(dialect: str) -> Statement:
    """Return the INSERT of a thread, marked as new, that locks an existing thread instead."""
    new = with_advisory_lock(bindparam("new", type_=THREADS.c.thread_id.type), dialect)
    row = insert_if_absent(THREADS, dialect).values(thread_id=new, forked_at_seq=_NEW)
    # inline: SQLAlchemy is not to add RETURNING for a key that it does not know
    return Statement(row.inline())
