"""Reading a thread's rows in pages, so that a long one is never in memory as a whole."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Table

from threadlog.encoding.statement_size import row_size
from threadlog.repositories import UnitOfWork
from threadlog.repositories.transfer import (
    RawRow,
    RowKey,
    SizedKey,
)

# A page has so many rows at the most, of so many bytes unless one row alone has more.
PAGE_ROWS: Final = 400
PAGE_BYTES: Final = 4 * 2**20


class Page(NamedTuple):
    """Some rows of a thread."""

    table: Table
    rows: dict[RowKey, RawRow]
    """In the order of their keys."""


def loads(uow: UnitOfWork, tables: Sequence[Table], thread_id: Any) -> Iterator[list[Page]]:
    """Read a thread in what is written together: a short one as a whole, a long one in parts."""
    counts = uow.count_rows(tables, thread_id)
    load: list[Page] = []
    for table in tables:
        for page in _pages(uow, table, thread_id) if counts[table] else ():
            if _is_full([*load, page]):
                yield load
                load = []
            load.append(page)
    if load:
        yield load


def _pages(uow: UnitOfWork, table: Table, thread_id: Any) -> Iterator[Page]:
    rows = uow.raw_rows(table)
    after: RowKey | None = None
    while keys := rows.keys(thread_id, after=after, limit=PAGE_ROWS):
        for some in _split_failure(keys):
            found = rows.get(thread_id, some)
            yield Page(table, {key: found[key] for key in some if key in found})
        if len(keys) < PAGE_ROWS:
            return
        after = keys[-1].key


def _split_failure(keys: Sequence[SizedKey]) -> Iterator[list[RowKey]]:
    """Divide keys so that the rows of each part are not too large together."""
    some: list[RowKey] = []
    total = 0
    for key, size in keys:
        if some and total + size > PAGE_BYTES:
            yield some
            some, total = [], 0
        some.append(key)
        total += size
    yield some


def _is_full(load: Sequence[Page]) -> bool:
    rows = [row for page in load for row in page.rows.values()]
    return len(load) > 1 and (
        len(rows) > PAGE_ROWS or sum(map(size_in_statement, rows)) > PAGE_BYTES
    )


def size_in_statement(row: RawRow) -> int:
    """Give the most bytes that a row has in a statement."""
    return row_size(*(value for value in row.values() if isinstance(value, bytes | str)))
