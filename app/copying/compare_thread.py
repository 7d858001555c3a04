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


@dataclass(frozen=True, slots=True)
class ThreadPair:
    """A thread in the source and in the target, during a transaction of the source.

    The databases are read in turn, so that each has its own errors and retries.
    """

    source: UnitOfWork
    target: TransactionRunner
    """Runs transactions in the target."""

    group: RowGroup
    """The tables whose rows are compared and copied."""

    thread_id: Any
    """The thread's id, in the type of the group's tables."""

    def has_rows(self, uow: UnitOfWork) -> bool:
        """Return True if a database has rows of the thread.

        Args:
            uow: a transaction of the source or of the target.
        """
        return any(uow.count_rows(self.group.tables, self.thread_id).values())

    def compare(self) -> Comparison:
        """Compare all rows of the thread."""
        found = Comparison()
        tables = self.group.tables
        counts = self.target.read(lambda uow: uow.count_rows(tables, self.thread_id))
        for batch in batches_of_pages(self.source, tables, self.thread_id):
            for page, differences in self.target.read(partial(self._compare_batch, batch)):
                missing = sum(difference.kind == "missing" for difference in differences.values())
                counts[page.table] -= len(page.rows) - missing
                for difference in differences.values():
                    found.add(difference)
                    is_head = page.table is self.group.head
                    found.source_is_newer |= difference.kind == "earlier" and is_head
        for table in tables:
            if counts[table] and table not in self.group.prunable:
                self._find_extra(found, table)
        return found

    def _compare_batch(
        self, batch: Sequence[Page], uow: UnitOfWork
    ) -> list[tuple[Page, dict[RowKey, Difference]]]:
        return [(page, self.differences(page, uow)) for page in batch]

    def differences(
        self, page: Page, uow: UnitOfWork, *, lock: bool = False
    ) -> dict[RowKey, Difference]:
        """Return the differences between a page of the source and the target's rows, by key.

        Args:
            page: rows of the source.
            uow: the target's transaction.
            lock: whether to lock the target's rows until it ends.
        """
        rows = uow.raw_rows(page.table)
        target_rows = rows.get(self.thread_id, list(page.rows), lock=lock)
        found: dict[RowKey, Difference] = {}
        for key, row in page.rows.items():
            name = rows.key_in_words(key)
            if key not in target_rows:
                found[key] = Difference(page.table, name, "missing")
                continue
            wanted, held = rows.truncate_to_column(row), rows.truncate_to_column(target_rows[key])
            if columns := _differing(page.table, wanted, held):
                is_newer = self.group.is_newer(page.table, wanted, held)
                kind: Kind = "earlier" if is_newer else "different"
                found[key] = Difference(page.table, name, kind, columns)
        return found

    def _find_extra(self, found: Comparison, table: Table) -> None:
        """Add the rows that only the target has to `found`."""
        rows = self.source.raw_rows(table)
        after: RowKey | None = None
        while keys := self.target.read(partial(self._page_of_keys, table, after)):
            present = rows.present(self.thread_id, keys)
            for key in keys:
                if key not in present:
                    found.add(Difference(table, rows.key_in_words(key), "extra"))
                    if table in self.group.deletable:
                        found.deleted.append((table, key))
            after = keys[-1]

    def _page_of_keys(self, table: Table, after: RowKey | None, uow: UnitOfWork) -> list[RowKey]:
        keys = uow.raw_rows(table).keys(self.thread_id, after=after, limit=_KEYS_AT_ONCE)
        return [key for key, _ in keys]


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
