"""Rows of any table that has a thread's id, as they are carried from one database to another."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from threadlog.models.dialects import (
    RawJson,
    RawText,
    RawTime,
    insert_if_absent,
    insert_or_replace,
    size_of,
    text_for_column,
    transfer_table,
    truncate_to_column,
)
from threadlog.repositories.base import Executor, Repository

RowKey: TypeAlias = tuple[Any, ...]
"""The primary key of a row without the thread's id; empty where there is nothing else in it."""

RawRow: TypeAlias = dict[str, Any]
"""A row's values by column: JSON as text, times aware."""

_THREAD_ID: Final = "thread_id"


class SizedKey(NamedTuple):
    """The key of a row, and about how many bytes the row has where it may be large."""

    key: RowKey
    size: int


class RawRowRepository(Repository):
    """Statements on the rows of one table, bound to one session.

    Threads are named as the table's column ``thread_id`` has them.
    """

    def __init__(self, uow: Executor, table: Table) -> None:
        super().__init__(uow)
        self._table = transfer_table(table)
        self._thread_id: Column[Any] = self._table.c.thread_id
        self._key = [c for c in self._table.primary_key if c.name != _THREAD_ID]
        self._times = [c.name for c in self._table.columns if isinstance(c.type, RawTime)]
        self._texts = [c.name for c in self._table.columns if isinstance(c.type, RawText)]

    def key_of(self, row: RawRow) -> RowKey:
        """Give a row's key in its thread."""
        return tuple(row[column.name] for column in self._key)

    def key_in_words(self, key: RowKey) -> str:
        """Write a key for people: ``seq 5``."""
        words = zip(self._key, key, strict=True)
        return ", ".join(f"{column.name} {value!r}" for column, value in words)

    def truncate_to_column(self, row: RawRow) -> RawRow:
        """Give a row, of whatever database, as the session's could hold it."""
        times = {
            name: truncate_to_column(row[name], self.uow.dialect)
            for name in self._times
            if isinstance(row[name], datetime)
        }
        texts = {
            name: text_for_column(row[name], self.uow.dialect)
            for name in self._texts
            if isinstance(row[name], str)
        }
        return {**row, **times, **texts}

    def count_threads(self) -> int:
        """Count the threads that the table has rows of."""
        return self.uow.execute(select(func.count(self._thread_id.distinct()))).scalar() or 0

    def thread_ids(self, *, after: Any, limit: int, but: Iterable[Table]) -> list[Any]:
        """Name threads that the table has rows of, in the order of the key, a page at a time.

        Args:
            after: the last of the page before; None for the first page.
            limit: the most threads.
            but: tables of the models; threads of which they have rows are left out.
        """
        ids = select(self._thread_id).distinct().order_by(self._thread_id).limit(limit)
        if after is not None:
            ids = ids.where(self._thread_id > after)
        for other in map(transfer_table, but):
            same = other.c.thread_id == self._thread_id
            ids = ids.where(~exists(select(other.c.thread_id).where(same)))
        return list(self.uow.execute(ids).scalars())

    def has_any(self) -> bool:
        """Say whether the table has rows at all."""
        rows = select(literal(1)).select_from(self._table).limit(1)
        return self.uow.execute(rows).first() is not None

    def keys(self, thread_id: Any, *, after: RowKey | None, limit: int) -> list[SizedKey]:
        """Give keys of a thread's rows, in their order, a page at a time.

        Where the thread's id is the whole key it is not looked whether there is a row.

        Args:
            thread_id: the thread.
            after: the last of the page before; None for the first page.
            limit: the most keys.
        """
        if not self._key:
            return [SizedKey((), 0)] if after is None else []
        # With their sizes, so that the rows are read in the order of the primary key, where
        # MySQL might choose another index and sort. Where the thread is no part of that it has
        # to sort, and lacks the memory to with large JSON (error 1038): then keys alone.
        in_order = self._thread_id.primary_key
        size = self._size if in_order else literal(0)
        keys = select(size, *self._key).where(self._thread_id == thread_id)
        if after is not None:
            keys = keys.where(_behind(self._key, after))
        rows = self.uow.execute(keys.order_by(*self._key).limit(limit))
        found = [SizedKey(tuple(row)[1:], row[0]) for row in rows]
        return found if in_order or not found else self._sized(thread_id, found)

    def _sized(self, thread_id: Any, keys: Sequence[SizedKey]) -> list[SizedKey]:
        """Add their sizes to keys."""
        sizes = select(self._size, *self._key)
        rows = self.uow.execute(self._at(sizes, thread_id, [key.key for key in keys]))
        found = {tuple(row)[1:]: row[0] for row in rows}
        return [SizedKey(key, found.get(key, 0)) for key, _ in keys]

    @property
    def _size(self) -> ColumnElement[int]:
        """About how many bytes a row has in the columns that may be large."""
        large = [c for c in self._table.columns if isinstance(c.type, LargeBinary | RawJson)]
        return sum(map(size_of, large), literal(0))

    def present(self, thread_id: Any, keys: Sequence[RowKey]) -> set[RowKey]:
        """Say of which keys there are rows."""
        found = select(self._thread_id, *self._key)
        rows = self.uow.execute(self._at(found, thread_id, keys))
        return {tuple(row)[1:] for row in rows}

    def get(self, thread_id: Any, keys: Sequence[RowKey]) -> dict[RowKey, RawRow]:
        """Read rows by their keys; those that there are not are left out."""
        statement = self._at(select(self._table), thread_id, keys)
        rows = [dict(row) for row in self.uow.execute(statement).mappings()]
        return {self.key_of(row): row for row in rows}

    def lock(self, thread_id: Any) -> None:
        """Lock the rows of a thread until the transaction ends."""
        rows = select(self._thread_id).where(self._thread_id == thread_id)
        self.uow.execute(rows.with_for_update())

    def insert(self, rows: Sequence[RawRow]) -> None:
        """Insert rows; one whose key is taken meanwhile is left out."""
        self.uow.execute(insert_if_absent(self._table, self.uow.dialect), rows)

    def replace(self, row: RawRow) -> None:
        """Overwrite the row that has the same key."""
        self.uow.execute(insert_or_replace(self._table, self.uow.dialect, row))

    def delete(self, thread_id: Any, keys: Sequence[RowKey]) -> None:
        """Delete rows by their keys."""
        self.uow.execute(self._at(delete(self._table), thread_id, keys))

    def _at(self, statement: Any, thread_id: Any, keys: Sequence[RowKey]) -> Any:
        """Narrow a statement to rows of a thread by their keys."""
        narrowed = statement.where(self._thread_id == thread_id)
        match self._key:
            case []:
                return narrowed
            case [column]:
                return narrowed.where(column.in_([value for (value,) in keys]))
            case _:
                return narrowed.where(tuple_(*self._key).in_(keys))


def _behind(columns: Sequence[Column[Any]], key: RowKey) -> ColumnElement[bool]:
    """Say that a key comes behind another, in a form whose index every server uses."""
    places = range(len(key))
    return or_(
        *(
            and_(*(columns[i] == key[i] for i in range(place)), columns[place] > key[place])
            for place in places
        )
    )


def count_rows(uow: Executor, tables: Sequence[Table], thread_id: Any) -> dict[Table, int]:
    """Count a thread's rows in several tables of the models, in one statement."""
    counts = [
        select(func.count()).select_from(table).where(table.c.thread_id == thread_id)
        for table in map(transfer_table, tables)
    ]
    found = uow.execute(select(*(count.scalar_subquery() for count in counts))).one()
    return dict(zip(tables, found, strict=True))
