"""Reading what a row's lock guards."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Select,
    Table,
    Update,
    func,
    select,
    true,
    update,
)

Lock: TypeAlias = Callable[[Select[Any]], Select[Any]]
"""Has a subquery read what is committed, and not the transaction's snapshot."""


class LockingRead:
    """Locks a thread's row, and reads what was committed before its lock was got.

    On MySQL one statement does both: all of its locking reads see what is committed last.
    MariaDB runs a subquery that does not depend on the row before it locks the row, so there
    each is made to depend on it. On PostgreSQL one statement sees one snapshot, made before it
    waited for the lock, and would miss what the holder of the lock committed: there a first
    statement locks. Where the transaction itself has one snapshot (REPEATABLE READ) the second
    is as old: what it missed fails as a duplicate key then, or the first does where the row was
    written to; see `bump_row_version`.
    """

    def __init__(
        self,
        table: Table,
        key: BindParameter[str],
        columns: Callable[[Lock], Sequence[ColumnElement[Any]]],
    ) -> None:
        """Take what to lock and to read.

        Args:
            table: the table of threads.
            key: the thread's id.
            columns: makes what is read; its subqueries are to be given to what it is given.
        """
        self._table = table
        self._key = key
        self._is_row = next(iter(table.primary_key)) == key
        self._columns = columns
        self.statements = cache(self._statements)

    def _statements(self, dialect: str) -> Sequence[Executable]:
        """Give the statements in their order; the last one reads."""
        if dialect == "postgresql":
            lock = lock_thread(self._table, self._key, dialect)
            return lock, select(*self._columns(_plain)).where(self._is_row)
        locking = self._after_the_row if dialect == "mariadb" else _locking
        return (select(*self._columns(locking)).where(self._is_row).with_for_update(),)

    def _after_the_row(self, subquery: Select[Any]) -> Select[Any]:
        return _locking(subquery.where(self._is_row).correlate(self._table))


def with_advisory_lock(key: BindParameter[str], dialect: str) -> ColumnElement[str]:
    """Give a thread's id as soon as it is this transaction's turn to work on the thread.

    On PostgreSQL the agent frameworks' own backends lock no row: they hold an advisory lock on
    the hash of the id, and it is all that keeps them and us from giving one place to two
    messages or runs. It is got before the row's lock, as they do, whether there is a row or not.

    Args:
        key: the thread's id.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return key
    turn = func.pg_advisory_xact_lock(func.hashtext(key))
    return select(key).select_from(turn).scalar_subquery()


def try_advisory_lock(key: ColumnElement[str], dialect: str, *, wait: bool) -> ColumnElement[bool]:
    """Return the condition that the selected thread's advisory lock is held by this transaction.

    Args:
        key: the column of the thread's id.
        dialect: the name of the session's dialect.
        wait: whether to wait until it is.
    """
    if dialect != "postgresql":
        return true()
    thread = func.hashtext(key)
    if wait:
        return func.pg_advisory_xact_lock(thread).is_not(None)
    return func.pg_try_advisory_xact_lock(thread)


@cache
def lock_thread(table: Table, key: BindParameter[str], dialect: str) -> Select[Any]:
    """Build what locks a thread's row when it is its turn, and selects its id.

    Args:
        table: the table of threads.
        key: the thread's id.
        dialect: the name of the session's dialect.
    """
    column = next(iter(table.primary_key))
    return select(column).where(column == with_advisory_lock(key, dialect)).with_for_update()


def prelock_statements(
    table: Table, is_row: ColumnElement[bool], dialect: str
) -> Sequence[Executable]:
    """Give what to execute before a statement that changes a row by what its lock guards.

    Args:
        table: the table of the row.
        is_row: the row's condition.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return ()
    return (select(next(iter(table.primary_key))).where(is_row).with_for_update(),)


def select_with_row_kept_locked(
    row: Table, is_row: ColumnElement[bool], columns: Sequence[ColumnElement[Any]], dialect: str
) -> Select[Any]:
    """Select a row's key, and more, and keep the row until the transaction ends.

    Nobody changes or deletes it until then; see `bump_row_version` for those that began before.

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


def bump_row_version(
    statement: Update, row: Table, is_row: ColumnElement[bool], dialect: str
) -> Update:
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
