"""Compare a thread in both databases by value, one page of rows in memory at a time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Table

from threadlog.copying.paging import Page, batches_of_pages
from threadlog.copying.row_groups import RowGroup
from threadlog.encoding.json_equal import json_equal
from threadlog.models.dialects.transfer import RawJson, transfer_table
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RawRow, RowKey
from threadlog.runtime.transactions import TransactionRunner

_KEYS_AT_ONCE: Final = 400

_MAX_NAMED: Final = 5
"""Differences of each kind that are named; the others are only counted."""

Kind: TypeAlias = Literal["missing", "earlier", "different", "extra"]


class Difference(NamedTuple):
    """A row that differs between the two databases."""

    table: Table
    key: str
    """The row's name in its thread; empty if the thread has one row."""

    kind: Kind
    """In the target: ``missing``, an ``earlier`` version, ``different``, or ``extra``, which is
    not in the source."""

    columns: tuple[str, ...] = ()
    """The columns that differ."""

    def __str__(self) -> str:
        """Return the difference as text."""
        row = f"{self.table.name} {self.key}".rstrip()
        match self.kind:
            case "missing":
                return f"{row} is not in the target"
            case "extra":
                return f"{row} is only in the target"
            case _:
                verb = "differs" if len(self.columns) == 1 else "differ"
                earlier = ", an earlier version in the target" if self.kind == "earlier" else ""
                return f"{row}: {', '.join(self.columns)} {verb}{earlier}"


@dataclass(slots=True)
class Comparison:
    """The differences between a thread in the target and in the source."""

    counts: Counter[Kind] = field(default_factory=Counter)
    named: list[Difference] = field(default_factory=list)
    """The first few of each kind."""

    deleted: list[tuple[Table, RowKey]] = field(default_factory=list)
    """All extra rows that the source may have deleted since they were copied."""

    source_is_newer: bool = False
    """True if the source's thread was written to since it was copied."""

    @property
    def same(self) -> bool:
        """True if nothing differs."""
        return not self.counts.total()

    @property
    def conflict(self) -> bool:
        """True if the target is not an earlier version of the source's thread."""
        deleted = len(self.deleted) if self.source_is_newer else 0
        return bool(self.counts["different"]) or self.counts["extra"] > deleted

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is among the first of its kind."""
        self.counts[difference.kind] += 1
        if self.counts[difference.kind] <= _MAX_NAMED:
            self.named.append(difference)

    def texts(self, *kinds: Kind) -> list[str]:
        """Return texts of the differences of these kinds, or of all."""
        chosen = kinds or tuple(self.counts)
        texts = [str(difference) for difference in self.named if difference.kind in chosen]
        more = sum(self.counts[kind] for kind in chosen) - len(texts)
        return [*texts, *([f"and {more:,} rows more"] if more else [])]


def compare(
    source: UnitOfWork, target: TransactionRunner, group: RowGroup, thread_id: Any
) -> Comparison:
    """Compare all rows of a group with this thread id.

    The databases are read in turn, so that each has its own errors and retries.

    Args:
        source: the source's transaction.
        target: runs transactions in the target.
        group: the tables to compare.
        thread_id: the thread's id, in the type of the group's tables.
    """
    found = Comparison()
    counts = target.read(lambda uow: uow.count_rows(group.tables, thread_id))
    for batch in batches_of_pages(source, group.tables, thread_id):
        for page, differences in target.read(partial(_compare_batch, group, batch, thread_id)):
            missing = sum(difference.kind == "missing" for difference in differences.values())
            counts[page.table] -= len(page.rows) - missing
            for difference in differences.values():
                found.add(difference)
                found.source_is_newer |= difference.kind == "earlier" and page.table is group.head
    for table in group.tables:
        if counts[table]:
            _find_extra(found, source, target, group, table, thread_id)
    return found


def _compare_batch(
    group: RowGroup, batch: Sequence[Page], thread_id: Any, uow: UnitOfWork
) -> list[tuple[Page, dict[RowKey, Difference]]]:
    return [(page, differences_of(uow, group, page, thread_id)) for page in batch]


def differences_of(
    uow: UnitOfWork, group: RowGroup, page: Page, thread_id: Any
) -> dict[RowKey, Difference]:
    """Return the differences between a page of the source and the target's rows, by key."""
    rows = uow.raw_rows(page.table)
    target_rows = rows.get(thread_id, list(page.rows))
    found: dict[RowKey, Difference] = {}
    for key, row in page.rows.items():
        name = rows.key_in_words(key)
        if key not in target_rows:
            found[key] = Difference(page.table, name, "missing")
            continue
        wanted, held = rows.truncate_to_column(row), rows.truncate_to_column(target_rows[key])
        if columns := _differing(page.table, wanted, held):
            kind: Kind = "earlier" if group.is_newer(page.table, wanted, held) else "different"
            found[key] = Difference(page.table, name, kind, columns)
    return found


def _differing(table: Table, one: RawRow, other: RawRow) -> tuple[str, ...]:
    """Return the names of the columns in which two rows differ."""
    return tuple(
        column.name
        for column in transfer_table(table).columns
        if not (
            json_equal(one[column.name], other[column.name])
            if isinstance(column.type, RawJson)
            else one[column.name] == other[column.name]
        )
    )


def _find_extra(
    found: Comparison,
    source: UnitOfWork,
    target: TransactionRunner,
    group: RowGroup,
    table: Table,
    thread_id: Any,
) -> None:
    """Add the rows that only the target has to `found`."""
    rows = source.raw_rows(table)
    after: RowKey | None = None
    while keys := target.read(partial(_page_of_keys, table, thread_id, after)):
        present = rows.present(thread_id, keys)
        for key in keys:
            if key not in present:
                found.add(Difference(table, rows.key_in_words(key), "extra"))
                if table in group.deletable:
                    found.deleted.append((table, key))
        after = keys[-1]


def _page_of_keys(
    table: Table, thread_id: Any, after: RowKey | None, uow: UnitOfWork
) -> list[RowKey]:
    keys = uow.raw_rows(table).keys(thread_id, after=after, limit=_KEYS_AT_ONCE)
    return [key for key, _ in keys]
