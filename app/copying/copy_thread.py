"""Copy a thread from one database to another, exactly once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Table

from threadlog.copying.compare_thread import Comparison, Difference, ThreadPair
from threadlog.copying.paging import Page, batches_of_pages, size_in_statement
from threadlog.copying.row_groups import RowGroup
from threadlog.encoding.statement_size import batches
from threadlog.errors import ColumnTooShortError, CopyEndError, StorageError, TooLargeError
from threadlog.log.search_rows import index_missing
from threadlog.models import tables
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RawRow, RowKey
from threadlog.runtime.transactions import TransactionRunner

Status: TypeAlias = Literal[
    "copied", "unchanged", "conflict", "different", "failed", "missing", "parentless", "moving"
]

_SECOND: Final = timedelta(seconds=1)
_PARENT: Final = "parent_thread_id"

# Maximum size of a row's numbers and times in a statement.
_OTHER_BYTES: Final = 200

# Errors about a value, not about the database: other threads may still be copied.
_REFUSALS: Final = (StorageError, ColumnTooShortError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of copying or comparing a thread."""

    status: Status
    """``copied``: was copied, and both databases are the same; ``unchanged``: they were the same
    already; ``conflict``: the target has other content, which stays; ``different``: they differ
    after the copy; ``failed``: the target refused a row; ``missing`` in the source;
    ``parentless``: the parent is not in the target; ``moving``: written to in this second.
    """

    reasons: list[str] = field(default_factory=list)

    parent: str | None = None
    """The thread to copy first."""

    wait: float = 0.0
    """Seconds to wait until later versions have a later time than the source's row."""


class _ConflictError(Exception):
    """Another transaction wrote to the thread in the target."""


def copy_thread(
    source: TransactionRunner,
    target: TransactionRunner,
    group: RowGroup,
    thread_id: Any,
    *,
    settled: bool,
    wrote: Callable[[int], None],
) -> Outcome:
    """Copy a thread's rows to the target, and compare both databases.

    The source is read in one transaction, at one point in time. Each batch of pages is written
    to the target in its own transaction, a short thread in a single one. Nothing is written if
    the target's thread is not an earlier version of the source's.

    Args:
        source: runs transactions in the source, each on one snapshot.
        target: runs transactions in the target.
        group: the tables to copy.
        thread_id: the thread's id, in the type of the group's tables.
        settled: True to return ``moving`` for a thread that was written to in this second:
            times are to the second, so the target's row would look like a later version.
        wrote: called after each transaction, with the number of rows that it wrote.

    Raises:
        CopyEndError: one of the databases cannot be used any more.
    """
    written = False

    def note(rows: int) -> None:
        nonlocal written
        written = True
        wrote(rows)

    def work(uow: UnitOfWork) -> Outcome:
        # Before the first row is read, which fixes the snapshot.
        now = uow.catalogue.now() if settled and group.head is not None else None
        pair = ThreadPair(uow, target, group, thread_id)
        if not pair.has_rows(uow):
            return Outcome("missing")
        found = _compare_if_any(pair)
        if found.same:  # after a lost connection: written before it was lost
            return Outcome("copied" if written else "unchanged")
        if found.conflict:
            return Outcome("conflict", found.texts("different", "extra"))
        return _blocking_reason(pair, now) or _write_missing(pair, found.deleted, note)

    return source.read(work)


def compare_thread(
    source: TransactionRunner, target: TransactionRunner, group: RowGroup, thread_id: Any
) -> Outcome:
    """Compare a thread in both databases, and write nothing; see `copy_thread`."""

    def work(uow: UnitOfWork) -> Outcome:
        pair = ThreadPair(uow, target, group, thread_id)
        if not pair.has_rows(uow):
            return Outcome("missing")
        found = pair.compare()
        return Outcome("unchanged" if found.same else "different", found.texts())

    return source.read(work)


def _compare_if_any(pair: ThreadPair) -> Comparison:
    """Compare, unless the target has no rows of the thread: then all are missing."""
    if pair.target.read(pair.has_rows):
        return pair.compare()
    found = Comparison()
    found.counts["missing"] = 1
    return found


def _blocking_reason(pair: ThreadPair, now: datetime | None) -> Outcome | None:
    """Return the reason why a thread cannot be copied now. Return None if it can."""
    head = pair.group.head
    if head is None:
        return None
    row = pair.source.raw_rows(head).get(pair.thread_id, [()]).get(())
    if row is None:
        return None
    parent = row.get(_PARENT)
    if parent is not None and not pair.target.read(
        lambda uow: uow.count_rows([head], parent)[head]
    ):
        return Outcome("parentless", [f"its parent {parent!r} is not in the target"], parent)
    if now is not None and isinstance(row["updated_at"], datetime):
        left = row["updated_at"] + _SECOND - now
        if timedelta(0) < left <= _SECOND:
            return Outcome("moving", wait=left.total_seconds())
    return None


def _write_missing(
    pair: ThreadPair, deleted: Sequence[tuple[Table, RowKey]], wrote: Callable[[int], None]
) -> Outcome:
    """Write the rows that differ or are missing in the target, and compare."""
    try:
        for batch in batches_of_pages(pair.source, pair.group.tables, pair.thread_id):
            wrote(pair.target.write(partial(_put, pair, batch, deleted), idempotent=True))
            deleted = ()
    except _ConflictError:
        found = pair.compare()
        return Outcome("conflict", found.texts("different", "extra"))
    except (TooLargeError, CopyEndError) as error:
        return Outcome("failed", [reason_of_refusal(error)])
    found = pair.compare()
    return Outcome("copied" if found.same else "different", found.texts())


def reason_of_refusal(error: TooLargeError | CopyEndError) -> str:
    """Return the reason why the target refused a row.

    Raises:
        CopyEndError: the error is about the database, not about a value.
    """
    if isinstance(error, TooLargeError):
        return (
            f"{error.what} needs {error.size:,} bytes in a statement, the target's limit is "
            f"{error.limit:,}. Raise it (max_allowed_packet on MySQL)"
        )
    refused = error.__cause__
    if not isinstance(refused, _REFUSALS) or type(refused) not in _REFUSALS:
        raise error
    return f"the target refused a row: {refused.reason}"


def _put(
    pair: ThreadPair,
    pages: Sequence[Page],
    deleted: Sequence[tuple[Table, RowKey]],
    uow: UnitOfWork,
) -> int:
    """Write the rows of pages that differ or are missing in the target, in one transaction.

    Returns:
        The number of rows written or deleted.

    Raises:
        TooLargeError: a row does not fit into a statement.
        _ConflictError: the target has a row with other content.
    """
    if pair.group.head is not None:
        uow.raw_rows(pair.group.head).lock(pair.thread_id)
    for table, key in deleted:
        uow.raw_rows(table).delete(pair.thread_id, [key])
    changed = len(deleted)
    for page in pages:
        found = pair.differences(page, uow)
        if any(difference.kind == "different" for difference in found.values()):
            raise _ConflictError
        changed += write_differences(uow, page, found, pair.target.facts.statement_limit)
    if uow.has_search and pair.group.head is tables.THREADS:
        while index_missing(uow, pair.thread_id, pair.target.facts.statement_limit):
            pass
    return changed


def write_differences(
    uow: UnitOfWork, page: Page, found: Mapping[RowKey, Difference], limit: int
) -> int:
    """Write the rows of a page that are missing in the target, or earlier versions there.

    Args:
        uow: the target's transaction.
        page: rows of the source.
        found: the differences.
        limit: the most bytes of a statement.

    Returns:
        The number of rows.

    Raises:
        TooLargeError: a row does not fit into a statement.
    """
    rows = uow.raw_rows(page.table)
    missing = [page.rows[key] for key, difference in found.items() if difference.kind == "missing"]
    for batch in batches(_sized(uow, page.table, missing), limit):
        rows.insert(batch.rows)
    earlier = [page.rows[key] for key, difference in found.items() if difference.kind == "earlier"]
    for row in earlier:
        rows.replace(row)
    return len(missing) + len(earlier)


def _sized(
    uow: UnitOfWork, table: Table, rows: Sequence[RawRow]
) -> Iterator[tuple[RawRow, str, int]]:
    """Yield rows with their names in errors and their sizes in a statement."""
    raw_rows = uow.raw_rows(table)
    for row in rows:
        name = f"the row of {table.name} {raw_rows.key_in_words(raw_rows.key_of(row))}".rstrip()
        yield row, name, size_in_statement(row) + _OTHER_BYTES
