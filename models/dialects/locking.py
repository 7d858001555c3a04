"""Locks of threads' rows, and reads under these locks."""

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
    and_,
    exists,
    func,
    literal_column,
    select,
    true,
    update,
)

Lock: TypeAlias = Callable[[Select[Any]], Select[Any]]
"""Adds to a subquery that it reads committed rows, not the transaction's snapshot."""


class LockingRead:
    """Locks a thread's row, and reads all that was committed before the lock was acquired.

    On MySQL one statement does both: each of its locking reads sees the latest commits.
    MariaDB runs a subquery that does not depend on the row before it locks the row, so each
    subquery is correlated with the row there. On PostgreSQL a statement sees the snapshot from
    before it waited for the lock, and would miss the commit of the lock's last holder, so a
    separate statement locks first. In a transaction with a single snapshot (REPEATABLE READ)
    the second statement still reads that snapshot: a missed row fails as a duplicate key then,
    or the lock fails if the row was written to; see `bump_row_version`.
    """

    def __init__(
        self,
        table: Table,
        key: BindParameter[str],
        columns: Callable[[Lock], Sequence[ColumnElement[Any]]],
    ) -> None:
        """Create the read.

        Args:
            table: the table of threads.
            key: the thread's id.
            columns: returns the expressions to read; must pass its subqueries to its argument.
        """
        self._table = table
        self._key = key
        self._is_row = next(iter(table.primary_key)) == key
        self._columns = columns

    def statements(self, dialect: str) -> Sequence[Executable]:
        """Return the statements in their order; the last one reads."""
        if dialect == "postgresql":
            lock = lock_thread(self._table, self._key, dialect)
            return lock, select(*self._columns(subquery_lock(dialect))).where(self._is_row)
        locking = self._after_the_row if dialect == "mariadb" else subquery_lock(dialect)
        return (select(*self._columns(locking)).where(self._is_row).with_for_update(),)

    def _after_the_row(self, subquery: Select[Any]) -> Select[Any]:
        return subquery.where(self._is_row).correlate(self._table).with_for_update()


def subquery_lock(dialect: str) -> Lock:
    """Return what makes a subquery of a locking statement read committed rows.

    PostgreSQL has no such subqueries: all of a statement reads one snapshot.
    """
    return _plain if dialect == "postgresql" else Select.with_for_update


def may_miss_commits(dialect: str) -> bool:
    """Return True if a read under a lock may miss commits from before the lock.

    True of PostgreSQL's transactions with a single snapshot. On MySQL a DELETE and a locking read
    see the latest commits.
    """
    return dialect == "postgresql"


def _plain(subquery: Select[Any]) -> Select[Any]:
    return subquery


def unless_under_lock(
    statement: Select[Any],
    rows: Table,
    is_row: ColumnElement[bool],
    condition: ColumnElement[bool],
    dialect: str,
) -> Select[Any]:
    """Return the locking SELECT without result if `condition` is true of a row of another table.

    The row is read as it is once the locks are held. On PostgreSQL the row must exist then, and
    is locked too, after the others: only rows that the statement locks are read again.

    Args:
        statement: a SELECT of a thread that locks it.
        rows: the other table.
        is_row: the condition on the row, whose `thread_id` is that of the statement's thread.
        condition: the condition to exclude.
        dialect: the name of the session's dialect.
    """
    if dialect == "postgresql":
        return statement.join(rows, and_(is_row, ~condition))
    found = select(*rows.primary_key).where(is_row, condition)
    return statement.where(~exists(found.with_for_update()))


def with_advisory_lock(key: BindParameter[str], dialect: str) -> ColumnElement[str]:
    """Return `key` after taking PostgreSQL's advisory lock for the thread.

    On PostgreSQL the agent frameworks' own backends lock no row: they take an advisory lock on
    the hash of the id. Only this lock prevents them and threadlog from allocating one seq to two
    messages or runs. As in their code it is taken before the row's lock, also if there is no row.
    On other servers `key` itself is returned.

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
        wait: whether to wait for the lock.
    """
    if dialect != "postgresql":
        return true()
    thread = func.hashtext(key)
    if wait:
        return func.pg_advisory_xact_lock(thread).is_not(None)
    return func.pg_try_advisory_xact_lock(thread)


def is_version_read(row: Table, key: ColumnElement[Any], dialect: str) -> ColumnElement[bool]:
    """Return the condition that the locked row is the version in the statement's snapshot.

    On PostgreSQL a statement that locks a row which was changed since its snapshot checks its
    conditions again on the newest version, but reads all other rows from the snapshot. Row locks
    alone change no version. On other servers the condition is always true.

    Args:
        row: the table of the row, which the statement selects from.
        key: the value of the row's primary key.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return true()
    read = row.alias("as_read")
    version: Select[Any] = select(literal_column("as_read.xmin")).select_from(read)
    is_row = next(iter(read.primary_key)) == key
    return literal_column(f"{row.name}.xmin") == version.where(is_row).scalar_subquery()


@cache
def lock_thread(table: Table, key: BindParameter[str], dialect: str) -> Select[Any]:
    """Return the SELECT of a thread's id that locks its row, after its advisory lock.

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
    """Return the statements to execute before one that changes a row by data under its lock.

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
    """Return a SELECT of a row's key, and more, that keeps the row until the transaction ends.

    No other transaction changes or deletes the row until then; see `bump_row_version` for
    transactions that began before.

    Args:
        row: the table of the row.
        is_row: the row's condition.
        columns: the expressions to select after the key.
        dialect: the name of the session's dialect.
    """
    key = next(iter(row.primary_key))
    if dialect == "postgresql":
        bumped = _bump(row, is_row).returning(key).cte("bumped")
        return select(bumped.c[key.name], *columns)
    return select(key, *columns).where(is_row).with_for_update(read=True)


def bump_row_version(
    statement: Update, row: Table, is_row: ColumnElement[bool], dialect: str
) -> Update:
    """Return an UPDATE of data under a row's lock that also conflicts with older transactions.

    These could lock the row, and read from their snapshot. On PostgreSQL the row is written to
    without a change, so that a transaction with an older snapshot cannot lock it any more.
    MySQL's locking reads see the latest commits anyway.

    Args:
        statement: the UPDATE.
        row: the table of the row.
        is_row: the row's condition.
        dialect: the name of the session's dialect.
    """
    if dialect != "postgresql":
        return statement
    return statement.add_cte(_bump(row, is_row).cte("bumped"))


def _bump(row: Table, is_row: ColumnElement[bool]) -> Update:
    """Return an UPDATE that writes to a row but changes no value, not even `updated_at`."""
    same = {c.name: c for c in row.columns if c.primary_key or c.onupdate is not None}
    return update(row).where(is_row).values(same)
