"""INSERT statements that meet a row which is there already."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Insert, Table, case, false
from sqlalchemy.dialects import mysql, postgresql, sqlite

from threadlog.models.dialects.names import MYSQL

Rows: TypeAlias = Sequence[Mapping[str, Any]]

JOINED_BYTES: Final = 900_000
"""The most bytes of rows that the drivers of MySQL join to one INSERT: their constant
``max_stmt_length`` with room for the statement itself. Up to it a statement for all rows need
not be built anew."""


# Of those that know ON CONFLICT, which is spelt alike.
_INSERT: Final[Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


@cache
def insert_if_absent(table: Table, dialect: str) -> Insert:
    """Build an INSERT that locks, but leaves alone, a row which has this primary key already.

    Unlike MySQL's INSERT IGNORE it hides no other error.

    Args:
        table: the table; its first primary key column stands in for "change nothing".
        dialect: the name of the session's dialect.
    """
    if dialect in MYSQL:
        key = next(iter(table.primary_key))
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    if dialect == "postgresql":
        # A row is locked before the condition is looked at; DO NOTHING would not lock it.
        key = next(iter(table.primary_key))
        new = postgresql.insert(table)
        return new.on_conflict_do_update(
            index_elements=table.primary_key,
            set_={key.name: new.excluded[key.name]},
            where=false(),
        )
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table, dialect: str, row: Mapping[str, Any]) -> Insert:
    """Build an INSERT that overwrites a row which has this primary key already.

    The key is overwritten too: where a collation takes two keys for one, the later stands.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        row: values, or SQL expressions, by column.
    """
    if dialect in MYSQL:
        new = mysql.insert(table).values(row)
        return new.on_duplicate_key_update({name: new.inserted[name] for name in row})
    given = _INSERT[dialect](table).values(row)
    key = [column.name for column in table.primary_key]
    return given.on_conflict_do_update(
        index_elements=key, set_={name: given.excluded[name] for name in row}
    )


def insert_or_replace_where(table: Table, dialect: str, condition: ColumnElement[bool]) -> Insert:
    """Build an INSERT that overwrites a row which is there already, if a condition is so.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        condition: of the row that is there; else it stays as it is.
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


def many_rows(statement: Insert, rows: Rows, dialect: str) -> tuple[Insert] | tuple[Insert, Rows]:
    """Return what to execute so that the server gets more than `JOINED_BYTES` in one statement.

    The drivers of MySQL join rows to one statement only up to that size. Those of PostgreSQL
    send rows without waiting for an answer to each. For SQLite a row is no round trip.

    Args:
        statement: an INSERT.
        rows: its values, by column.
        dialect: the name of the server's dialect.
    """
    return (statement.values(rows),) if dialect in MYSQL else (statement, rows)
