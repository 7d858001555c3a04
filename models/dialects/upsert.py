"""INSERT statements for rows that may exist already (upserts)."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Insert,
    Table,
    TableValuedAlias,
    bindparam,
    case,
    false,
    func,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from threadlog.models.dialects.names import MYSQL

# Dialects with ON CONFLICT, whose syntax is the same in both.
_INSERT: Final[Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


@cache
def insert_if_absent(table: Table, dialect: str) -> Insert:
    """Return an INSERT that locks, but does not change, a row that has this primary key already.

    Unlike MySQL's INSERT IGNORE it hides no other error.

    Args:
        table: the table; its first primary key column is set to itself, which changes nothing.
        dialect: the name of the session's dialect.
    """
    key = next(iter(table.primary_key))
    if dialect in MYSQL:
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    if dialect == "postgresql":
        # The row is locked before the condition is evaluated; DO NOTHING would not lock it.
        new = postgresql.insert(table)
        return new.on_conflict_do_update(
            index_elements=table.primary_key,
            set_={key.name: new.excluded[key.name]},
            where=false(),
        )
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table, dialect: str, row: Mapping[str, Any]) -> Insert:
    """Return an INSERT that overwrites a row that has this primary key already.

    The key is overwritten too: if two keys are equal by the collation, the later one remains.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        row: values, or SQL expressions, by column.
    """
    return insert_or_update(table, dialect, row, lambda new: {name: new[name] for name in row})


def insert_or_update(
    table: Table,
    dialect: str,
    row: Mapping[str, Any],
    changes: Callable[[Any], Mapping[str, Any]],
) -> Insert:
    """Return an INSERT that changes a row that has this primary key already.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        row: values, or SQL expressions, by column.
        changes: returns the new values of columns, from the columns of the row that was to be
            inserted. MySQL assigns them one after the other, in the order of the table.
    """
    if dialect in MYSQL:
        new = mysql.insert(table).values(row)
        return new.on_duplicate_key_update(dict(changes(new.inserted)))
    given = _INSERT[dialect](table).values(row)
    key = [column.name for column in table.primary_key]
    return given.on_conflict_do_update(index_elements=key, set_=dict(changes(given.excluded)))


def insert_or_replace_where(table: Table, dialect: str, condition: ColumnElement[bool]) -> Insert:
    """Return an INSERT that overwrites an existing row if a condition is true.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        condition: a condition on the existing row; if false the row is not changed.
    """
    key = {column.name for column in table.primary_key}
    others = [column.name for column in table.columns if column.name not in key]
    if dialect in MYSQL:
        new = mysql.insert(table)
        return new.on_duplicate_key_update(
            {name: case((condition, new.inserted[name]), else_=table.c[name]) for name in others}
        )
    given = _INSERT[dialect](table)
    return given.on_conflict_do_update(
        index_elements=sorted(key),
        set_={name: given.excluded[name] for name in others},
        where=condition,
    )


def insert_rows_if_absent(
    table: Table, dialect: str, key: Sequence[str]
) -> tuple[Insert, Sequence[str]]:
    """Return an INSERT as `insert_if_absent`, and the names of its parameters that take lists.

    On PostgreSQL one statement inserts any number of rows, from lists with a value for each row,
    since several executions of a statement are not atomic in autocommit mode. Elsewhere there
    are no such parameters.

    Args:
        table: the table.
        dialect: the name of the server's dialect.
        key: the columns that are equal in all rows, which have parameters of the same name.
    """
    insert = insert_if_absent(table, dialect)
    if dialect != "postgresql":
        return insert, ()
    columns = [column for column in table.columns if column.name not in key]
    rows, names = rows_of_lists(columns)
    same = (bindparam(name, type_=table.c[name].type) for name in key)
    into = [*key, *(column.name for column in columns)]
    return insert.from_select(into, select(*same, *rows.c)), names


LIST_DIALECTS: Final = frozenset({"postgresql"})
"""Dialects in which one statement inserts any number of rows, from lists."""


def insert_of_lists(table: Table, columns: Sequence[Column[Any]]) -> tuple[Insert, Sequence[str]]:
    """Return an INSERT of any number of rows for PostgreSQL; see `insert_rows_if_absent`."""
    rows, names = rows_of_lists(columns)
    into = [column.name for column in columns]
    return postgresql.insert(table).from_select(into, select(*rows.c)), names


def rows_of_lists(columns: Sequence[Column[Any]]) -> tuple[TableValuedAlias, Sequence[str]]:
    """Return PostgreSQL's rows of lists with a value of a column each, and the lists' names."""
    lists = {f"all_{column.name}": ARRAY(column.type) for column in columns}
    given = (bindparam(name, type_=type_) for name, type_ in lists.items())
    names = (column.name for column in columns)
    return func.unnest(*given).table_valued(*names).render_derived("rows"), [*lists]
