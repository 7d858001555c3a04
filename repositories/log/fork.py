"""Forks: the finished part of a thread, read or copied inside the database.

The finished part is the messages without a run, and the messages of runs that completed no later
than a given run. The rest of the thread may still change.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.exc import IntegrityError

from threadlog.errors import ThreadAlreadyExistsError
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.locking import Lock, LockingRead
from threadlog.models.dialects.types import id_equals
from threadlog.models.tables import MESSAGES, RUNS, THREADS
from threadlog.repositories.base import Repository, execute_in_order, locking_statements
from threadlog.repositories.log.message import THREAD_ROW, MessageRow

_SOURCE: Final[BindParameter[str]] = bindparam("source", type_=THREADS.c.thread_id.type)
_IS_SOURCE: Final = THREADS.c.thread_id == _SOURCE

_LAST_RUN: Final = RUNS.alias("last_run")
_CUTOFF: Final = select(_LAST_RUN.c.completion_seq).where(
    _LAST_RUN.c.thread_id == _SOURCE, id_equals(_LAST_RUN.c.run_id, bindparam("after_run_id"))
)


def _finished(cutoff: ColumnElement[int], *columns: ColumnElement[Any]) -> Select[Any]:
    """Select from the finished messages of the source; without runs if the cutoff is NULL."""
    runs = and_(RUNS.c.thread_id == _SOURCE, id_equals(RUNS.c.run_id, MESSAGES.c.run_id))
    return (
        select(*columns)
        .select_from(MESSAGES.outerjoin(RUNS, runs))
        .where(
            MESSAGES.c.thread_id == _SOURCE,
            or_(MESSAGES.c.run_id.is_(None), RUNS.c.completion_seq <= cutoff),
        )
    )


# One statement, so that thread, cutoff and messages are from one point in time.
_SNAPSHOT: Final = union_all(
    select(
        literal(THREAD_ROW).label("seq"),
        null().label("role"),
        null().label("metadata"),
        null().label("payload"),
        _CUTOFF.scalar_subquery().label("cutoff"),
    ).where(_IS_SOURCE),
    _finished(
        _CUTOFF.scalar_subquery(),
        MESSAGES.c.seq,
        MESSAGES.c.role,
        as_text(MESSAGES.c.metadata),
        MESSAGES.c.payload,
        null(),
    ),
)

_NEWS: Final = THREADS.alias("new_thread")


def _source(lock: Lock) -> Sequence[ColumnElement[Any]]:
    tables = (_NEWS, MESSAGES.alias("remains"), RUNS.alias("remains_of_runs"))
    taken = (
        exists(select(table.c.thread_id).where(table.c.thread_id == bindparam("new")))
        for table in tables
    )
    return lock(_CUTOFF).scalar_subquery(), as_text(THREADS.c.extra), or_(*taken)


_LOCK_SOURCE: Final = LockingRead(THREADS, _SOURCE, _source)

_NEW: Final[BindParameter[str]] = bindparam("new", type_=THREADS.c.thread_id.type)
_UP_TO: Final = bindparam("cutoff", type_=BigInteger)
_COPY_THREAD: Final = insert(THREADS).from_select(
    ["thread_id", "parent_thread_id", "forked_at_seq", "extra"],
    select(
        _NEW,
        _SOURCE,
        func.coalesce(_finished(_UP_TO, func.max(MESSAGES.c.seq)).scalar_subquery(), 0),
        bindparam("extra", type_=THREADS.c.extra.type),
    ),
)
_COPY_MESSAGES: Final = insert(MESSAGES).from_select(
    [column.name for column in MESSAGES.columns],
    _finished(_UP_TO, _NEW, *[column for column in MESSAGES.columns if column.name != "thread_id"]),
)
_COPY_RUNS: Final = insert(RUNS).from_select(
    [column.name for column in RUNS.columns],
    select(_NEW, *[column for column in RUNS.columns if column.name != "thread_id"]).where(
        RUNS.c.thread_id == _SOURCE, RUNS.c.completion_seq <= _UP_TO
    ),
)


class Snapshot(NamedTuple):
    """The finished part of a thread, at one point in time."""

    completed: bool
    """Whether the last run to include is completed; if not, the snapshot is of no use."""

    messages: list[MessageRow]
    """In seq order."""


class ForkSource(NamedTuple):
    """Data of a fork's locked source, except messages and runs."""

    cutoff: int | None
    """The completion_seq of the last run to copy; None if that run is not completed."""

    extra: str
    """The text of the source's `extra`."""

    new_is_taken: bool
    """Whether rows of the new thread exist already."""


class ForkRepository(Repository):
    """Statements that read or copy the finished part of a thread, bound to one session."""

    def snapshot(self, thread_id: str, after_run_id: str) -> Snapshot | None:
        """Return the part that a fork would copy, in one statement; None if not found."""
        key = {"source": thread_id, "after_run_id": after_run_id}
        rows = sorted(self.uow.execute(_SNAPSHOT, key).all(), key=lambda row: row[0])
        if not rows or rows[0][0] != THREAD_ROW:
            return None
        return Snapshot(rows[0][4] is not None, [MessageRow(*row[:4]) for row in rows[1:]])

    def lock_source(self, thread_id: str, after_run_id: str, new: str) -> ForkSource | None:
        """Lock the source of a fork, and return its data; None if not found.

        Until the transaction ends no other one appends to it, or claims or completes its runs.
        """
        key = {"source": thread_id, "after_run_id": after_run_id, "new": new}
        statements = locking_statements(_LOCK_SOURCE, self.uow.dialect)
        row = execute_in_order(self.uow, statements, key)
        return None if row is None else ForkSource(row[0], row[1], bool(row[2]))

    def copy(self, source: str, new: str, cutoff: int, extra: dict[str, Any]) -> None:
        """Copy the finished part of a locked thread to a new one, inside the database.

        Args:
            source: the thread that is forked.
            new: the fork's id.
            cutoff: the completion_seq of the last run to copy.
            extra: the fork's `extra`.

        Raises:
            ThreadAlreadyExistsError: rows of the thread `new` exist already.
        """
        values = {"source": source, "new": new, "cutoff": cutoff}
        try:
            self.uow.execute(_COPY_THREAD, {**values, "extra": extra})
            self.uow.execute(_COPY_MESSAGES, values)
            self.uow.execute(_COPY_RUNS, values)
        except IntegrityError as error:
            # The source is locked, so only a key of the new thread can be the conflict.
            raise ThreadAlreadyExistsError(thread_id=new) from error
