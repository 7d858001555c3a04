"""Reading what a row's lock guards."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Executable, Select, Table, Update, select, update

Lock: TypeAlias = Callable[[Select[Any]], Select[Any]]
"""Has a subquery read what is committed, and not the transaction's snapshot."""


class LockingRead:
    """Locks a row, and reads what was committed before its lock was got.

    On MySQL one statement does both: all of its locking reads see what is committed last.
    MariaDB runs a subquery that does not depend on the row before it locks the row, so there
    each is made to depend on it. On PostgreSQL one statement sees one snapshot, made before it
    waited for the lock, and would miss what the holder of the lock committed: there a first
    statement locks. Where the transaction itself has one snapshot (REPEATABLE READ) the second
    is as old: what it missed fails as a duplicate key then, or the first does where the row was
    written to; see `marking`.
    """

    def __init__(
        self,
        table: Table,
        is_row: ColumnElement[bool],
        columns: Callable[[Lock], Sequence[ColumnElement[Any]]],
    ) -> None:
        """Take what to lock and to read.

        Args:
            table: the table of the row.
            is_row: the row's condition.
            columns: makes what is read; its subqueries are to be given to what it is given.
        """
        self._table = table
        self._is_row = is_row
        self._columns = columns
        self.statements = cache(self._statements)

    def _statements(self, dialect: str) -> Sequence[Executable]:
        """Give the statements in their order; the last one reads."""
        if locks := lock_first(self._table, self._is_row, dialect):
            return *locks, select(*self._columns(_plain)).where(self._is_row)
        locking = self._after_the_row if dialect == "mariadb" else _locking
        return (select(*self._columns(locking)).where(self._is_row).with_for_update(),)

    def _after_the_row(self, subquery: Select[Any]) -> Select[Any]:
        return _locking(subquery.where(self._is_row).correlate(self._table))


def lock_first(table: Table, is_row: ColumnElement[bool], dialect: str) -> Sequence[Executable]:
    """Give what to execute before a statement that changes a row by what its lock guards.

    Args:
        table: the table of the row.
        is_row: the row's condition.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return ()
    return (select(next(iter(table.primary_key))).where(is_row).with_for_update(),)


def from_kept(
    row: Table, is_row: ColumnElement[bool], columns: Sequence[ColumnElement[Any]], dialect: str
) -> Select[Any]:
    """Select a row's key, and more, and keep the row until the transaction ends.

    Nobody changes or deletes it until then; see `marking` for those that began before.

    Args:
        row: the table of the row.
        is_row: the row's condition.
        columns: what to select behind the key.
        dialect: the name of the session's dialect.
    """
    key = next(iter(row.primary_key))
    if dialect == "postgresql":
        marked = _mark(row, is_row).returning(key).cte("marked")
        return select(marked.c[key.name], *columns)
    return select(key, *columns).where(is_row).with_for_update(read=True)


def marking(statement: Update, row: Table, is_row: ColumnElement[bool], dialect: str) -> Update:
    """Have an UPDATE of what a row's lock guards tell transactions that began before.

    Those would lock the row, and read what they knew. On PostgreSQL it is written to, without
    a change, and one that has an older snapshot is refused its lock. MySQL's locking reads
    need no telling.

    Args:
        statement: the UPDATE.
        row: the table of the row.
        is_row: the row's condition.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return statement
    return statement.add_cte(_mark(row, is_row).cte("marked"))


def _mark(row: Table, is_row: ColumnElement[bool]) -> Update:
    """Write to a row without a change, to its time of change neither."""
    same = {c.name: c for c in row.columns if c.primary_key or c.onupdate is not None}
    return update(row).where(is_row).values(same)


def _locking(subquery: Select[Any]) -> Select[Any]:
    return subquery.with_for_update()


def _plain(subquery: Select[Any]) -> Select[Any]:
    return subquery
