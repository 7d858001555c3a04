"""Rows of any table, by thread if it has a thread id, for copying them to another database."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    LargeBinary,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from threadlog.models.dialects.transfer import (
    RawJson,
    RawText,
    RawTime,
    size_of,
    text_for_column,
    transfer_table,
    truncate_to_column,
)
from threadlog.models.dialects.upsert import insert_if_absent, insert_or_replace
from threadlog.repositories.base import Executor, Repository, Statement

RowKey: TypeAlias = tuple[Any, ...]
"""The primary key of a row without the thread's id; empty if it has no other columns."""

RawRow: TypeAlias = dict[str, Any]
"""A row's values by column: JSON as text, times aware."""

_THREAD_ID: Final = "thread_id"


class SizedKey(NamedTuple):
    """The key of a row, and the approximate bytes in its columns that may be large."""

    key: RowKey
    size: int


class RawRowRepository(Repository):
    """Statements on the rows of one table, bound to one session.

    Thread ids have the type of the table's column ``thread_id``; a table without it ignores them.
    """

    def __init__(self, uow: Executor, table: Table) -> None:
        super().__init__(uow)
        self._table = transfer_table(table)
        self._thread_id: Any = self._table.c.get(_THREAD_ID)
        self._key = [c for c in self._table.primary_key if c.name != _THREAD_ID]

    def key_of(self, row: RawRow) -> RowKey:
        """Return a row's key within its thread."""
        return tuple(row[column.name] for column in self._key)

    def key_in_words(self, key: RowKey) -> str:
        """Return a key for people, such as ``seq 5``."""
        words = zip(self._key, key, strict=True)
        return ", ".join(f"{column.name} {value!r}" for column, value in words)

    def truncate_to_column(self, row: RawRow) -> RawRow:
        """Return a row of any database with times truncated to the precision of the session's."""
        held = dict(row)
        for column in self._table.columns:
            value = row[column.name]
            if isinstance(column.type, RawTime) and isinstance(value, datetime):
                held[column.name] = truncate_to_column(value, self.uow.dialect)
            elif isinstance(column.type, RawText) and isinstance(value, str):
                held[column.name] = text_for_column(value, self.uow.dialect)
        return held

    def count(self) -> int:
        """Return the number of rows."""
        return self.uow.execute(select(func.count()).select_from(self._table)).scalar() or 0

    def count_threads(self) -> int:
        """Return the number of threads with rows in the table."""
        return self.uow.execute(select(func.count(self._thread_id.distinct()))).scalar() or 0

    def thread_ids(self, *, after: Any, limit: int, but: Iterable[Table]) -> list[Any]:
        """Return a page of the threads with rows in the table, in key order.

        Args:
            after: the last thread of the previous page; None for the first page.
            limit: the most threads.
            but: tables of the models; threads with rows in these tables are skipped.
        """
        ids = select(self._thread_id).distinct().order_by(self._thread_id).limit(limit)
        if after is not None:
            ids = ids.where(self._thread_id > after)
        for other in map(transfer_table, but):
            same = other.c.thread_id == self._thread_id
            ids = ids.where(~exists(select(other.c.thread_id).where(same)))
        return list(self.uow.execute(ids).scalars())

    def has_any(self) -> bool:
        """Return True if the table has rows."""
        rows = select(literal(1)).select_from(self._table).limit(1)
        return self.uow.execute(rows).first() is not None

    def keys(self, thread_id: Any, *, after: RowKey | None, limit: int) -> list[SizedKey]:
        """Return a page of the keys of a thread's rows, in key order.

        If the thread's id is the whole key, the row is not checked for existence.

        Args:
            thread_id: the thread.
            after: the last key of the previous page; None for the first page.
            limit: the most keys.
        """
        if not self._key:
            return [SizedKey((), 0)] if after is None else []
        # With sizes, so that MySQL reads in the order of the primary key, and not by another
        # index with a sort. If the thread is not in the primary key, MySQL must sort, and runs
        # out of sort memory with large JSON (error 1038): then keys alone.
        in_order = self._thread_id is None or self._thread_id.primary_key
        size = self._size if in_order else literal(0)
        keys = select(size, *self._key).where(*self._of(thread_id))
        if after is not None:
            keys = keys.where(_after(self._key, after))
        rows = self.uow.execute(keys.order_by(*self._key).limit(limit))
        found = [SizedKey(tuple(row)[1:], row[0]) for row in rows]
        return found if in_order or not found else self._sized(thread_id, found)

    def _sized(self, thread_id: Any, keys: Sequence[SizedKey]) -> list[SizedKey]:
        """Return keys with their sizes."""
        sizes = select(self._size, *self._key)
        rows = self.uow.execute(self._at(sizes, thread_id, [key.key for key in keys]))
        found = {tuple(row)[1:]: row[0] for row in rows}
        return [SizedKey(key, found.get(key, 0)) for key, _ in keys]

    @property
    def _size(self) -> ColumnElement[int]:
        """The approximate bytes of a row in the columns that may be large."""
        large = [c for c in self._table.columns if isinstance(c.type, LargeBinary | RawJson)]
        return sum(map(size_of, large), literal(0))

    def present(self, thread_id: Any, keys: Sequence[RowKey]) -> set[RowKey]:
        """Return the keys, among `keys`, that have rows."""
        found = select(literal(1), *self._key)
        rows = self.uow.execute(self._at(found, thread_id, keys))
        return {tuple(row)[1:] for row in rows}

    def get(
        self, thread_id: Any, keys: Sequence[RowKey], *, lock: bool = False
    ) -> dict[RowKey, RawRow]:
        """Return rows by their keys; missing rows are skipped.

        Args:
            thread_id: the thread.
            keys: the keys.
            lock: whether to lock the rows until the transaction ends.
        """
        statement = self._at(select(self._table), thread_id, keys)
        if lock:
            statement = statement.with_for_update()
        rows = [dict(row) for row in self.uow.execute(statement).mappings()]
        return {self.key_of(row): row for row in rows}

    def lock(self, thread_id: Any) -> None:
        """Lock the rows of a thread until the transaction ends."""
        rows = select(self._thread_id).where(self._thread_id == thread_id)
        self.uow.execute(rows.with_for_update())

    def insert(self, rows: Sequence[RawRow]) -> None:
        """Insert rows; a row whose key exists by now is skipped."""
        self.uow.run(_insert(self._table, self.uow.dialect), rows)

    def replace(self, row: RawRow) -> None:
        """Overwrite the row with the same key, or insert it."""
        self.uow.execute(insert_or_replace(self._table, self.uow.dialect, row))

    def delete(self, thread_id: Any, keys: Sequence[RowKey]) -> None:
        """Delete rows by their keys."""
        self.uow.execute(self._at(delete(self._table), thread_id, keys))

    def _of(self, thread_id: Any) -> list[ColumnElement[bool]]:
        """Return the condition on rows of a thread."""
        return [] if self._thread_id is None else [self._thread_id == thread_id]

    def _at(self, statement: Any, thread_id: Any, keys: Sequence[RowKey]) -> Any:
        """Return a statement, restricted to rows of a thread by their keys."""
        narrowed = statement.where(*self._of(thread_id))
        match self._key:
            case []:
                return narrowed
            case [column]:
                return narrowed.where(column.in_([value for (value,) in keys]))
            case _:
                return narrowed.where(tuple_(*self._key).in_(keys))


@cache
def _insert(table: Table, dialect: str) -> Statement:
    return Statement(insert_if_absent(table, dialect))


def _after(columns: Sequence[Column[Any]], key: RowKey) -> ColumnElement[bool]:
    """Return the condition that a row's key is after `key`, as every server's index needs it."""
    places = range(len(key))
    return or_(
        *(
            and_(*(columns[i] == key[i] for i in range(place)), columns[place] > key[place])
            for place in places
        )
    )


def count_rows(uow: Executor, tables: Sequence[Table], thread_id: Any) -> dict[Table, int]:
    """Return the number of a thread's rows in each of several tables, in one statement."""
    found = uow.execute(_counts(tuple(tables)), {"counted": thread_id}).first()
    # No row where the unit of work sees only threads of another owner.
    return dict(zip(tables, found or [0] * len(tables), strict=True))


@cache
def _counts(tables: tuple[Table, ...]) -> Select[Any]:
    """Return the statement, which takes longer to create than to run."""
    counts = [
        select(func.count()).select_from(table).where(table.c.thread_id == bindparam("counted"))
        for table in map(transfer_table, tables)
    ]
    return select(*(count.scalar_subquery() for count in counts))
