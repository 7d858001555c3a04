"""Read rows in pages, so that a long thread is never in memory as a whole."""

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

# Limits of a page; a single row may exceed the bytes.
PAGE_ROWS: Final = 400
PAGE_BYTES: Final = 4 * 2**20


class Page(NamedTuple):
    """Rows of one table of a thread."""

    table: Table
    rows: dict[RowKey, RawRow]
    """In the order of their keys."""


def batches_of_pages(
    uow: UnitOfWork, tables: Sequence[Table], thread_id: Any
) -> Iterator[list[Page]]:
    """Read a thread in the pages of each transaction: one for a short thread, else several."""
    counts = uow.count_rows(tables, thread_id)
    batch: list[Page] = []
    for table in tables:
        for page in _pages(uow, table, thread_id) if counts[table] else ():
            if _is_full([*batch, page]):
                yield batch
                batch = []
            batch.append(page)
    if batch:
        yield batch


def _pages(uow: UnitOfWork, table: Table, thread_id: Any) -> Iterator[Page]:
    rows = uow.raw_rows(table)
    after: RowKey | None = None
    while keys := rows.keys(thread_id, after=after, limit=PAGE_ROWS):
        for part in _split_by_size(keys):
            found = rows.get(thread_id, part)
            yield Page(table, {key: found[key] for key in part if key in found})
        if len(keys) < PAGE_ROWS:
            return
        after = keys[-1].key


def page_of_rows(uow: UnitOfWork, table: Table, after: RowKey | None) -> Page:
    """Return a page of a table that has no threads; empty at the end.

    Args:
        uow: the transaction.
        table: the table.
        after: the last key of the page before; None for the first page.
    """
    rows = uow.raw_rows(table)
    keys = rows.keys(None, after=after, limit=PAGE_ROWS)
    part = next(_split_by_size(keys))
    return Page(table, rows.get(None, part) if part else {})


def _split_by_size(keys: Sequence[SizedKey]) -> Iterator[list[RowKey]]:
    """Divide keys so that the rows of each part have at most `PAGE_BYTES` together."""
    part: list[RowKey] = []
    total = 0
    for key, size in keys:
        if part and total + size > PAGE_BYTES:
            yield part
            part, total = [], 0
        part.append(key)
        total += size
    yield part


def _is_full(pages: Sequence[Page]) -> bool:
    rows = [row for page in pages for row in page.rows.values()]
    return len(pages) > 1 and (
        len(rows) > PAGE_ROWS or sum(map(size_in_statement, rows)) > PAGE_BYTES
    )


def size_in_statement(row: RawRow) -> int:
    """Return the maximum size, in bytes, of a row in a statement."""
    return row_size(*(value for value in row.values() if isinstance(value, bytes | str)))
