"""Carrying a thread from one database to another, exactly once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Table

from threadlog.copying.compare_thread import Comparison, compare, differences_of
from threadlog.copying.paging import Page, loads, size_in_statement
from threadlog.copying.row_groups import RowGroup
from threadlog.encoding.statement_size import batches
from threadlog.errors import ColumnTooShortError, CopyEndError, StorageError, TooLargeError
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RawRow, RowKey
from threadlog.runtime.transactions import TransactionRunner

Status: TypeAlias = Literal[
    "copied", "unchanged", "conflict", "different", "failed", "missing", "parentless", "moving"
]

_SECOND: Final = timedelta(seconds=1)
_PARENT: Final = "parent_thread_id"

# The numbers and times of a row, at the most, in a statement.
_OTHER_BYTES: Final = 200

# What the database says of a value, and not of itself: other threads may still go in.
_REFUSALS: Final = (StorageError, ColumnTooShortError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a thread."""

    status: Status
    """``copied``, and now the same at both ends; ``unchanged``, because it was; ``conflict``:
    the target holds something else, and keeps it; ``different``, after all; ``failed``: the
    target refused it; ``missing`` in the source; ``parentless``: the target lacks the thread
    that it was forked from; ``moving``: being written to in this very second.
    """

    reasons: list[str] = field(default_factory=list)

    parent: str | None = None
    """The thread that is to be carried first."""

    wait: float = 0.0
    """The seconds after which the source's state can be told from later ones."""


class _ConflictError(Exception):
    """Somebody wrote to the thread at the target meanwhile."""


def copy_thread(
    source: TransactionRunner,
    target: TransactionRunner,
    group: RowGroup,
    thread_id: Any,
    *,
    settled: bool,
    wrote: Callable[[int], None],
) -> Outcome:
    """Bring a thread at the target to its state at the source, and compare both ends.

    The source is read in one transaction, at one point in time. The target gets each page of
    rows in a transaction of its own, a thread of one page as a whole. Nothing is written where
    the target's thread is no earlier state of the source's.

    Args:
        source: where the thread is; what reads in it must be a snapshot.
        target: where it is to be.
        group: which of its rows.
        thread_id: the thread, as the group's tables have it.
        settled: whether to give up as ``moving`` a thread that was written to in this second:
            times are to the second, and the target's row could not be told from a later one.
        wrote: called after each transaction, with the number of rows that it wrote.

    Raises:
        CopyEndError: one end cannot be used any more.
    """
    written = False

    def note(rows: int) -> None:
        nonlocal written
        written = True
        wrote(rows)

    def work(uow: UnitOfWork) -> Outcome:
        # Before the first row is read, and with it the point in time chosen.
        now = uow.catalogue.now() if settled and group.head is not None else None
        if not _has_any(uow, group, thread_id):
            return Outcome("missing")
        found = _compare_if_any(uow, target, group, thread_id)
        if found.same:  # after a lost connection, what was written before that
            return Outcome("copied" if written else "unchanged")
        if found.conflict:
            return Outcome("conflict", found.in_words("different", "extra"))
        hindrance = _blocking_reason(uow, target, group, thread_id, now)
        if hindrance is not None:
            return hindrance
        return _write_missing(uow, target, group, thread_id, found.taken_back, note)

    return source.read(work)


def compare_thread(
    source: TransactionRunner, target: TransactionRunner, group: RowGroup, thread_id: Any
) -> Outcome:
    """Compare a thread at both ends, and write nothing; see `carry`."""

    def work(uow: UnitOfWork) -> Outcome:
        if not _has_any(uow, group, thread_id):
            return Outcome("missing")
        found = compare(uow, target, group, thread_id)
        return Outcome("unchanged" if found.same else "different", found.in_words())

    return source.read(work)


def _compare_if_any(
    source: UnitOfWork, target: TransactionRunner, group: RowGroup, thread_id: Any
) -> Comparison:
    """Compare, unless the target has nothing of the thread: then all is missing."""
    if target.read(lambda uow: _has_any(uow, group, thread_id)):
        return compare(source, target, group, thread_id)
    found = Comparison()
    found.counts["missing"] = 1
    return found


def _has_any(uow: UnitOfWork, group: RowGroup, thread_id: Any) -> bool:
    return any(uow.count_rows(group.tables, thread_id).values())


def _blocking_reason(
    uow: UnitOfWork,
    target: TransactionRunner,
    group: RowGroup,
    thread_id: Any,
    now: datetime | None,
) -> Outcome | None:
    """Say why a thread cannot be carried at this moment."""
    head = group.head
    row = uow.raw_rows(head).get(thread_id, [()]).get(()) if head is not None else None
    if head is None or row is None:
        return None
    parent = row.get(_PARENT)
    if parent is not None and not target.read(lambda at: at.count_rows([head], parent)[head]):
        return Outcome("parentless", [f"its parent {parent!r} is not in the target"], parent)
    if now is not None and isinstance(row["updated_at"], datetime):
        left = row["updated_at"] + _SECOND - now
        if timedelta(0) < left <= _SECOND:
            return Outcome("moving", wait=left.total_seconds())
    return None


def _write_missing(
    uow: UnitOfWork,
    target: TransactionRunner,
    group: RowGroup,
    thread_id: Any,
    taken_back: Sequence[tuple[Table, RowKey]],
    wrote: Callable[[int], None],
) -> Outcome:
    """Write what the target lacks, and compare."""
    try:
        for load in loads(uow, group.tables, thread_id):
            put = partial(_put, group, thread_id, load, taken_back, target.statement_limit)
            wrote(target.write(put, idempotent=True))
            taken_back = ()
    except _ConflictError:
        found = compare(uow, target, group, thread_id)
        return Outcome("conflict", found.in_words("different", "extra"))
    except TooLargeError as error:
        reason = (
            f"{error.what} needs {error.size:,} bytes in a statement, the target takes "
            f"{error.limit:,}: raise its limit (max_allowed_packet on MySQL)"
        )
        return Outcome("failed", [reason])
    except CopyEndError as error:
        refused = error.__cause__
        if not isinstance(refused, _REFUSALS) or type(refused) not in _REFUSALS:
            raise  # a kind of error that is the database's own
        return Outcome("failed", [f"the target refused it: {refused.reason}"])
    found = compare(uow, target, group, thread_id)
    return Outcome("copied" if found.same else "different", found.in_words())


def _put(
    group: RowGroup,
    thread_id: Any,
    load: Sequence[Page],
    taken_back: Sequence[tuple[Table, RowKey]],
    limit: int,
    uow: UnitOfWork,
) -> int:
    """Write rows at the target that are not there yet, in one transaction.

    Returns:
        How many rows were written or deleted.

    Raises:
        TooLargeError: a row does not fit into a statement.
        _ConflictError: a row is there with other content.
    """
    if group.head is not None:
        uow.raw_rows(group.head).lock(thread_id)
    for table, key in taken_back:
        uow.raw_rows(table).delete(thread_id, [key])
    changed = len(taken_back)
    for page in load:
        found = differences_of(uow, group, page, thread_id)
        if any(difference.kind == "different" for difference in found.values()):
            raise _ConflictError
        missing = [page.rows[key] for key, what in found.items() if what.kind == "missing"]
        for batch in batches(_sized(uow, page.table, missing), limit):
            uow.raw_rows(page.table).insert(batch.rows)
        for key, what in found.items():
            if what.kind == "earlier":
                uow.raw_rows(page.table).replace(page.rows[key])
        changed += len(found)
    return changed


def _sized(
    uow: UnitOfWork, table: Table, rows: Sequence[RawRow]
) -> Iterator[tuple[RawRow, str, int]]:
    """Give rows with what they are called in an error, and their sizes in a statement."""
    carried = uow.raw_rows(table)
    for row in rows:
        name = f"the row of {table.name} {carried.key_in_words(carried.key_of(row))}".rstrip()
        yield row, name, size_in_statement(row) + _OTHER_BYTES
