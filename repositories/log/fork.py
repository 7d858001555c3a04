"""Forks: a part of a thread, read or copied inside the database.

It is either the finished part: the messages without a run, and the messages of runs that completed
no later than a given run; the rest of the thread may still change. Or it is all messages up to a
seq.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Insert,
    Select,
    Table,
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

from threadlog.encryption import Place
from threadlog.errors import ThreadAlreadyExistsError
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.locking import Lock, LockingRead
from threadlog.models.dialects.types import id_equals
from threadlog.models.tables import MESSAGES, OWNERS, RUNS, THREADS
from threadlog.repositories.base import Repository, Row, execute_in_order, locking_statements
from threadlog.repositories.log.message import THREAD_ROW, MessageRow

_SOURCE: Final[BindParameter[str]] = bindparam("source", type_=THREADS.c.thread_id.type)
_IS_SOURCE: Final = THREADS.c.thread_id == _SOURCE

_LAST_RUN: Final = RUNS.alias("last_run")
_CUTOFF: Final = select(_LAST_RUN.c.completion_seq).where(
    _LAST_RUN.c.thread_id == _SOURCE, id_equals(_LAST_RUN.c.run_id, bindparam("after_run_id"))
)


def _finished(cutoff: ColumnElement[int]) -> Select[Any]:
    """Select the finished messages of the source; those without runs if the cutoff is NULL."""
    runs = and_(RUNS.c.thread_id == _SOURCE, id_equals(RUNS.c.run_id, MESSAGES.c.run_id))
    return (
        select(MESSAGES.c.seq)
        .select_from(MESSAGES.outerjoin(RUNS, runs))
        .where(
            MESSAGES.c.thread_id == _SOURCE,
            or_(MESSAGES.c.run_id.is_(None), RUNS.c.completion_seq <= cutoff),
        )
    )


_AT_SEQ: Final = bindparam("at_seq", type_=BigInteger)
_FIRST: Final = select(MESSAGES.c.seq).where(
    MESSAGES.c.thread_id == _SOURCE, MESSAGES.c.seq <= _AT_SEQ
)
_LATER: Final = MESSAGES.alias("later")
_LATER_OF_RUN: Final = select(_LATER.c.seq).where(
    _LATER.c.thread_id == _SOURCE,
    id_equals(_LATER.c.run_id, RUNS.c.run_id),
    _LATER.c.seq > _AT_SEQ,
)


def _snapshot(cutoff: ColumnElement[Any], messages: Select[Any]) -> CompoundSelect[Any]:
    """Return one statement, so that thread, cutoff and messages are from one point in time."""
    return union_all(
        select(
            literal(THREAD_ROW).label("seq"),
            null().label("role"),
            null().label("metadata"),
            null().label("payload"),
            cutoff.label("cutoff"),
        ).where(_IS_SOURCE),
        messages.with_only_columns(
            MESSAGES.c.seq,
            MESSAGES.c.role,
            as_text(MESSAGES.c.metadata),
            MESSAGES.c.payload,
            null(),
        ),
    )


_FINISHED_SNAPSHOT: Final = _snapshot(
    _CUTOFF.scalar_subquery(), _finished(_CUTOFF.scalar_subquery())
)
_FIRST_SNAPSHOT: Final = _snapshot(_AT_SEQ, _FIRST)

_NEWS: Final = THREADS.alias("new_thread")


_OWNER: Final = select(OWNERS.c.owner).where(OWNERS.c.thread_id == _SOURCE)


def _source(lock: Lock) -> Sequence[ColumnElement[Any]]:
    tables = (_NEWS, MESSAGES.alias("remains"), RUNS.alias("remains_of_runs"))
    taken = (
        exists(select(table.c.thread_id).where(table.c.thread_id == bindparam("new")))
        for table in tables
    )
    return lock(_CUTOFF).scalar_subquery(), as_text(THREADS.c.extra), or_(*taken)


def _source_and_owner(lock: Lock) -> Sequence[ColumnElement[Any]]:
    return (*_source(lock), lock(_OWNER).scalar_subquery())


_LOCK_SOURCE: Final = LockingRead(THREADS, _SOURCE, _source)
_LOCK_SOURCE_AND_OWNER: Final = LockingRead(THREADS, _SOURCE, _source_and_owner)

_NEW: Final[BindParameter[str]] = bindparam("new", type_=THREADS.c.thread_id.type)
_UP_TO: Final = bindparam("cutoff", type_=BigInteger)


def _copies(messages: Select[Any], is_copied_run: ColumnElement[bool]) -> tuple[Insert, ...]:
    """Return the INSERTs of the new thread, its messages and its runs."""
    last = messages.with_only_columns(func.max(MESSAGES.c.seq)).scalar_subquery()
    thread = select(
        _NEW, _SOURCE, func.coalesce(last, 0), bindparam("extra", type_=THREADS.c.extra.type)
    )
    into = ["thread_id", "parent_thread_id", "forked_at_seq", "extra"]
    of_source = RUNS.c.thread_id == _SOURCE
    return (
        insert(THREADS).from_select(into, thread),
        _copy(MESSAGES, messages),
        _copy(RUNS, select(RUNS.c.run_id).where(of_source, is_copied_run)),
    )


def _copy(table: Table, rows: Select[Any]) -> Insert:
    """Return the INSERT of copies of rows, which differ in the thread's id."""
    others = [column for column in table.columns if column.name != "thread_id"]
    into = ["thread_id", *(column.name for column in others)]
    return insert(table).from_select(into, rows.with_only_columns(_NEW, *others))


_COPY_FINISHED: Final = _copies(_finished(_UP_TO), RUNS.c.completion_seq <= _UP_TO)
# A run with a message after the seq is not complete in the fork.
_COPY_FIRST: Final = _copies(_FIRST, and_(RUNS.c.completed_at.is_not(None), ~exists(_LATER_OF_RUN)))


class Snapshot(NamedTuple):
    """A part of a thread, at one point in time."""

    completed: bool
    """Whether the last run to include is completed; if not, the snapshot is of no use. True of a
    snapshot up to a seq."""

    messages: list[MessageRow]
    """In seq order."""


class ForkSource(NamedTuple):
    """Data of a fork's locked source, except messages and runs."""

    cutoff: int | None
    """The completion_seq of the last run to copy; None if that run is not completed, or none is
    named."""

    extra: str
    """The text of the source's `extra`."""

    new_is_taken: bool
    """Whether rows of the new thread exist already."""

    owner: str | None = None
    """The source's owner; None if it has none, or the database has no thread control."""


class ForkRepository(Repository):
    """Statements that read or copy a part of a thread, bound to one session."""

    def snapshot(
        self, thread_id: str, *, after_run_id: str | None, at_seq: int | None
    ) -> Snapshot | None:
        """Return the part that a fork would copy, in one statement; None if not found."""
        key: dict[str, Any] = {"source": thread_id}
        if at_seq is None:
            found = self.uow.execute(_FINISHED_SNAPSHOT, {**key, "after_run_id": after_run_id})
        else:
            found = self.uow.execute(_FIRST_SNAPSHOT, {**key, "at_seq": at_seq})
        rows = sorted(found.all(), key=lambda row: row[0])
        if not rows or rows[0][0] != THREAD_ROW:
            return None
        messages: Sequence[Row] = [row[:4] for row in rows[1:]]
        if self.uow.encryption is not None:
            messages = self.uow.encrypted_values.decrypt_rows(thread_id, messages)
        return Snapshot(rows[0][4] is not None, [MessageRow(*row) for row in messages])

    def lock_source(self, thread_id: str, after_run_id: str | None, new: str) -> ForkSource | None:
        """Lock the source of a fork, and return its data; None if not found.

        Until the transaction ends no other one appends to it, or claims or completes its runs.
        """
        key = {"source": thread_id, "after_run_id": after_run_id or "", "new": new}
        read = _LOCK_SOURCE_AND_OWNER if self.uow.has_control else _LOCK_SOURCE
        row = execute_in_order(self.uow, locking_statements(read, self.uow.dialect), key)
        if row is None:
            return None
        cutoff, extra, new_is_taken, *owner = row
        if self.uow.encryption is not None:
            place = Place("extra", thread_id)
            extra = self.uow.encrypted_values.decrypt_json(extra, place)
        return ForkSource(cutoff, extra, bool(new_is_taken), *owner)

    def copy_finished(self, source: str, new: str, cutoff: int, extra: dict[str, Any]) -> None:
        """Copy the finished part of a locked thread to a new one, inside the database.

        The payloads are copied as they are stored: those that are encrypted must be encrypted anew
        in the same transaction.

        Args:
            source: the thread that is forked.
            new: the fork's id.
            cutoff: the completion_seq of the last run to copy.
            extra: the fork's `extra`.

        Raises:
            ThreadAlreadyExistsError: rows of the thread `new` exist already.
        """
        self._copy(_COPY_FINISHED, {"source": source, "new": new, "cutoff": cutoff}, extra)

    def copy_first(self, source: str, new: str, at_seq: int, extra: dict[str, Any]) -> None:
        """Copy the messages of a locked thread up to a seq; see `copy_finished`.

        Copies also the completed runs that have no later message.
        """
        self._copy(_COPY_FIRST, {"source": source, "new": new, "at_seq": at_seq}, extra)

    def _copy(
        self, copies: Sequence[Insert], values: dict[str, Any], extra: dict[str, Any]
    ) -> None:
        thread, *rest = copies
        if self.uow.encryption is not None:
            place = Place("extra", values["new"])
            extra = self.uow.encrypted_values.encrypt_json(extra, place)
        try:
            self.uow.execute(thread, {**values, "extra": extra})
            for each in rest:
                self.uow.execute(each, values)
        except IntegrityError as error:
            # The source is locked, so only a key of the new thread can be the conflict.
            raise ThreadAlreadyExistsError(thread_id=values["new"]) from error
