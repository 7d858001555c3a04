"""Retention: threads that were not written to for long, and their oldest messages."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Double, and_, bindparam, delete, exists, func, select

from threadlog.models.dialects.time import to_epoch
from threadlog.models.tables import MESSAGES, OWNERS, RUNS, SEARCH, THREADS
from threadlog.repositories.base import Repository, Statement

_IS_THREAD: Final = THREADS.c.thread_id == bindparam("thread_id")
_OF_THREAD: Final = MESSAGES.c.thread_id == bindparam("thread_id")
_FORK: Final = THREADS.alias("fork")
_STATE: Final = Statement(
    select(
        select(func.count())
        .select_from(_FORK)
        .where(_FORK.c.parent_thread_id == bindparam("thread_id"))
        .scalar_subquery(),
        exists(select(RUNS.c.run_id))
        .where(RUNS.c.thread_id == bindparam("thread_id"), RUNS.c.completed_at.is_(None))
        .label("has_open_run"),
        THREADS.c.pending_request.is_not(None),
        THREADS.c.parent_thread_id,
    ).where(_IS_THREAD, to_epoch(THREADS.c.updated_at) < bindparam("before", type_=Double()))
)
_NEWEST: Final = Statement(
    select(MESSAGES.c.seq, MESSAGES.c.role)
    .where(_OF_THREAD)
    .order_by(MESSAGES.c.seq.desc())
    .limit(1)
    .offset(bindparam("skip"))
)
_BEFORE: Final = and_(_OF_THREAD, MESSAGES.c.seq < bindparam("before_seq"))
_SIZE: Final[Any] = func.length(MESSAGES.c.payload, type_=BigInteger)
_OLDEST: Final = Statement(
    select(MESSAGES.c.seq, MESSAGES.c.role, _SIZE)
    .where(_BEFORE)
    .order_by(MESSAGES.c.seq)
    .limit(bindparam("limit"))
)
_TOTALS: Final = Statement(select(func.count(), func.coalesce(func.sum(_SIZE), 0)).where(_BEFORE))
_DELETE: Final = {
    table: Statement(
        delete(table).where(
            table.c.thread_id == bindparam("thread_id"), table.c.seq <= bindparam("last_seq")
        )
    )
    for table in (SEARCH, MESSAGES)
}


class OldThreadState(NamedTuple):
    """State of a thread that was not written to for long."""

    forks: int
    """Number of its forks."""

    has_open_run: bool
    has_question: bool
    parent_thread_id: str | None


class OldMessage(NamedTuple):
    """A message to delete."""

    seq: int
    role: str
    size: int
    """Bytes of its payload."""


class RetentionRepository(Repository):
    """Statements on old threads, bound to one session."""

    def count(self, before: datetime, owner: str | None) -> int:
        """Return the number of threads, of an owner or all, that were last written to before."""
        old = select(func.count()).select_from(THREADS).where(THREADS.c.updated_at < before)
        if owner is not None:
            old = old.join(OWNERS, OWNERS.c.thread_id == THREADS.c.thread_id)
            old = old.where(OWNERS.c.owner == owner)
        return int(self.uow.execute(old).scalar() or 0)

    def state(self, thread_id: str, before: datetime) -> OldThreadState | None:
        """Return the state of a thread; None if it was written to since, or does not exist."""
        key = {"thread_id": thread_id, "before": before.timestamp()}
        row = self.uow.run(_STATE, key).first()
        return None if row is None else OldThreadState(row[0], bool(row[1]), bool(row[2]), row[3])

    def newest(self, thread_id: str, count: int) -> tuple[int, str] | None:
        """Return seq and role of the first of a thread's newest messages; None if it has fewer."""
        row = self.uow.run(_NEWEST, {"thread_id": thread_id, "skip": count - 1}).first()
        return None if row is None else (row[0], row[1])

    def oldest(self, thread_id: str, *, before_seq: int, limit: int) -> list[OldMessage]:
        """Return the first messages of a thread, without their payloads."""
        key = {"thread_id": thread_id, "before_seq": before_seq, "limit": limit}
        return [OldMessage(*row) for row in self.uow.run(_OLDEST, key)]

    def totals(self, thread_id: str, *, before_seq: int) -> tuple[int, int]:
        """Return number and bytes of a thread's messages before a seq."""
        key = {"thread_id": thread_id, "before_seq": before_seq}
        ((count, size),) = self.uow.run(_TOTALS, key)
        return count, int(size)

    def delete_messages(self, thread_id: str, *, last_seq: int) -> None:
        """Delete a locked thread's messages up to a seq, and their rows of the search index."""
        for table in (SEARCH, MESSAGES) if self.uow.has_search else (MESSAGES,):
            self.uow.run(_DELETE[table], {"thread_id": thread_id, "last_seq": last_seq})
