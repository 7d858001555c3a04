"""Comparing a thread at both ends, by value, with one page of its rows in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Table

from threadlog.copying.paging import Page, loads
from threadlog.copying.row_groups import RowGroup
from threadlog.encoding.json_equal import json_equal
from threadlog.models.dialects import RawJson, transfer_table
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import RawRow, RowKey
from threadlog.runtime.transactions import TransactionRunner

_KEYS_AT_ONCE: Final = 400

_TOLD: Final = 5
"""Differences of a kind that are named; the others are counted."""

Kind: TypeAlias = Literal["missing", "earlier", "different", "extra"]


class Difference(NamedTuple):
    """A row that is not the same at both ends."""

    table: Table
    key: str
    """What the row is called in its thread; empty where it is the only one."""

    kind: Kind
    """``missing`` in the target, an ``earlier`` state there, ``different`` there, or ``extra``,
    which the source has not."""

    columns: tuple[str, ...] = ()
    """Those that differ."""

    def __str__(self) -> str:
        """Say it in words."""
        row = f"{self.table.name} {self.key}".rstrip()
        match self.kind:
            case "missing":
                return f"{row} is not in the target"
            case "extra":
                return f"{row} is only in the target"
            case _:
                verb = "differs" if len(self.columns) == 1 else "differ"
                earlier = ", an earlier state in the target" if self.kind == "earlier" else ""
                return f"{row}: {', '.join(self.columns)} {verb}{earlier}"


@dataclass(slots=True)
class Comparison:
    """How a thread at the target differs from the same thread at the source."""

    counts: Counter[Kind] = field(default_factory=Counter)
    named: list[Difference] = field(default_factory=list)
    """The first few of each kind."""

    taken_back: list[tuple[Table, RowKey]] = field(default_factory=list)
    """Rows that the source may have deleted since the target got them: all of them."""

    head_went_on: bool = False
    """Whether the source's thread was written to since the target got it."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.counts.total()

    @property
    def conflict(self) -> bool:
        """Whether the target has what the source's thread never was."""
        deleted = len(self.taken_back) if self.head_went_on else 0
        return bool(self.counts["different"]) or self.counts["extra"] > deleted

    def add(self, difference: Difference) -> None:
        """Count a difference, and name it if it is one of the first."""
        self.counts[difference.kind] += 1
        if self.counts[difference.kind] <= _TOLD:
            self.named.append(difference)

    def in_words(self, *kinds: Kind) -> list[str]:
        """Say what differs: of these kinds, or of all."""
        chosen = kinds or tuple(self.counts)
        words = [str(difference) for difference in self.named if difference.kind in chosen]
        more = sum(self.counts[kind] for kind in chosen) - len(words)
        return [*words, *([f"and {more:,} rows more"] if more else [])]


def compare(
    source: UnitOfWork, target: TransactionRunner, group: RowGroup, thread_id: Any
) -> Comparison:
    """Compare all rows of a thread.

    The two ends are read in turn, so that each has its own errors, and its own second try.

    Args:
        source: where the rows are that are to be at the target.
        target: the other end.
        group: which rows.
        thread_id: the thread, as the group's tables have it.
    """
    found = Comparison()
    counts = target.read(lambda uow: uow.count_rows(group.tables, thread_id))
    for load in loads(source, group.tables, thread_id):
        for page, differences in target.read(partial(_compare_load, group, load, thread_id)):
            missing = sum(what.kind == "missing" for what in differences.values())
            counts[page.table] -= len(page.rows) - missing
            for difference in differences.values():
                found.add(difference)
                found.head_went_on |= difference.kind == "earlier" and page.table is group.head
    for table in group.tables:
        if counts[table]:
            _find_extra(found, source, target, group, table, thread_id)
    return found


def _compare_load(
    group: RowGroup, load: Sequence[Page], thread_id: Any, uow: UnitOfWork
) -> list[tuple[Page, dict[RowKey, Difference]]]:
    return [(page, differences_of(uow, group, page, thread_id)) for page in load]


def differences_of(
    uow: UnitOfWork, group: RowGroup, page: Page, thread_id: Any
) -> dict[RowKey, Difference]:
    """Compare a page of the source's with what the target has, and give what is not the same."""
    rows = uow.raw_rows(page.table)
    there = rows.get(thread_id, list(page.rows))
    found: dict[RowKey, Difference] = {}
    for key, row in page.rows.items():
        name = rows.key_in_words(key)
        if key not in there:
            found[key] = Difference(page.table, name, "missing")
            continue
        wanted, held = rows.truncate_to_column(row), rows.truncate_to_column(there[key])
        if columns := _differing(page.table, wanted, held):
            kind: Kind = "earlier" if group.went_on(page.table, wanted, held) else "different"
            found[key] = Difference(page.table, name, kind, columns)
    return found


def _differing(table: Table, one: RawRow, other: RawRow) -> tuple[str, ...]:
    """Name the columns in which two rows differ."""
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
    """Find the rows that only the target has."""
    rows = source.raw_rows(table)
    after: RowKey | None = None
    while keys := target.read(partial(_some_keys, table, thread_id, after)):
        present = rows.present(thread_id, keys)
        for key in keys:
            if key not in present:
                found.add(Difference(table, rows.key_in_words(key), "extra"))
                if table in group.taken_back:
                    found.taken_back.append((table, key))
        after = keys[-1]


def _some_keys(table: Table, thread_id: Any, after: RowKey | None, uow: UnitOfWork) -> list[RowKey]:
    keys = uow.raw_rows(table).keys(thread_id, after=after, limit=_KEYS_AT_ONCE)
    return [key for key, _ in keys]
