"""Leases of runs: locking and writing them, and refusing writers whose lease was taken over.

A writer with a lease locks the lease's row until its transaction ends, and finds its token in it.
Taking a run over changes the token: it waits for such a writer, or the writer sees the change.
"""

from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import (
    BindParameter,
    Delete,
    Select,
    Update,
    and_,
    bindparam,
    insert,
    select,
    update,
)

from threadlog.models.dialects.locking import bump_row_version, lock_thread, may_miss_commits
from threadlog.models.dialects.time import utc_now
from threadlog.models.dialects.types import id_equals
from threadlog.models.tables import LEASES, THREADS
from threadlog.repositories.base import Repository, Statement

WriteT = TypeVar("WriteT", Update, Delete)

OF_LEASED_RUN: Final = id_equals(LEASES.c.run_id, bindparam("leased_run_id"))
"""The condition that a lease is that of the run ``leased_run_id``."""

_THREAD_ID: Final = bindparam("of_thread", type_=THREADS.c.thread_id.type)
_HAS_TOKEN: Final = LEASES.c.token == bindparam("token")
_IS_LEASE: Final = and_(LEASES.c.thread_id == bindparam("of_thread"), OF_LEASED_RUN)
_LOCK_HELD: Final = Statement(
    select(LEASES.c.token).where(_IS_LEASE, _HAS_TOKEN).with_for_update(read=True)
)


class Fence(NamedTuple):
    """The run and the token of a writer's lease: parameters of statements that check it."""

    leased_run_id: str
    token: int


class LeaseRow(NamedTuple):
    """A locked lease."""

    token: int
    expires_at: datetime | None
    """None if the run was released."""

    now: datetime
    """The database's time."""


class LeaseRepository(Repository):
    """Statements on leases of runs, bound to one session."""

    def lock(self, thread_id: str, run_id: str) -> LeaseRow | None:
        """Lock the lease of a run, and return it; None if the run was never leased."""
        now = utc_now(self.uow.dialect)
        statement = select(LEASES.c.token, LEASES.c.expires_at, now).where(_IS_LEASE)
        key = {"of_thread": thread_id, "leased_run_id": run_id}
        row = self.uow.execute(statement.with_for_update(), key).first()
        return None if row is None else LeaseRow(*row)

    def insert(self, thread_id: str, run_id: str, token: int, expires_at: datetime) -> None:
        """Insert the first lease of a run; the caller holds the thread's lock."""
        row = {"thread_id": thread_id, "run_id": run_id, "token": token, "expires_at": expires_at}
        self.uow.execute(insert(LEASES), row)

    def replace(self, thread_id: str, run_id: str, token: int, expires_at: datetime | None) -> None:
        """Replace the token and the end of a lease; the caller holds the thread's lock."""
        replaced = update(LEASES).where(_IS_LEASE).values(token=token, expires_at=expires_at)
        is_thread = THREADS.c.thread_id == _THREAD_ID
        bumped = bump_row_version(replaced, THREADS, is_thread, self.uow.dialect)
        self.uow.execute(bumped, {"of_thread": thread_id, "leased_run_id": run_id})

    def extend(self, thread_id: str, run_id: str, expires_at: datetime) -> None:
        """Set the end of a lease; the caller holds its lock."""
        extended = update(LEASES).where(_IS_LEASE).values(expires_at=expires_at)
        self.uow.execute(extended, {"of_thread": thread_id, "leased_run_id": run_id})

    def lock_held(self, thread_id: str, fence: Fence) -> bool:
        """Lock a lease, and return True if nobody took it over."""
        key = {"of_thread": thread_id, **fence._asdict()}
        return self.uow.run(_LOCK_HELD, key).first() is not None

    def lock_thread(self, thread_id: str, fence: Fence) -> bool:
        """Lock a thread and a lease of it, in one statement; return False if it was taken over."""
        key = {"of_thread": thread_id, **fence._asdict()}
        return self.uow.run(_lock_thread(self.uow.dialect), key).first() is not None


@cache
def _lock_thread(dialect: str) -> Statement:
    return Statement(if_held(lock_thread(THREADS, _THREAD_ID, dialect)))


def if_held(locking: Select[Any]) -> Select[Any]:
    """Return a SELECT of a thread that also locks a lease, with no row if it was taken over.

    The server compares the token of the lease as it is once both rows are locked.

    Args:
        locking: the SELECT, which locks. Gets the parameters of a `Fence`.
    """
    is_lease = and_(LEASES.c.thread_id == THREADS.c.thread_id, OF_LEASED_RUN, _HAS_TOKEN)
    return locking.join(LEASES, is_lease)


def where_held(statement: WriteT, thread_id: BindParameter[str], dialect: str) -> WriteT:
    """Return an UPDATE or DELETE that changes nothing if a lease was taken over.

    On PostgreSQL a condition reads the statement's snapshot, which is older than its locks. So the
    thread and the lease are locked first, by a part of the statement. MySQL, which could not
    update a table that this part reads, evaluates a locking read for each row.

    Args:
        statement: changes rows of one thread. Gets the parameters of a `Fence` too.
        thread_id: the statement's parameter with the thread's id.
        dialect: the name of the session's dialect.
    """
    column = statement.table.c.thread_id
    if may_miss_commits(dialect):
        thread = select(THREADS.c.thread_id).where(THREADS.c.thread_id == thread_id)
        held = if_held(thread.with_for_update()).cte("held")
        return statement.where(column == select(held.c.thread_id).scalar_subquery())
    token = select(LEASES.c.token).where(LEASES.c.thread_id == column, OF_LEASED_RUN)
    locked = token.correlate(statement.table).with_for_update(read=True)
    return statement.where(locked.scalar_subquery() == bindparam("token"))
