"""INSERT statements that meet a row which is there already."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Insert, Table, case, false
from sqlalchemy.dialects import mysql, postgresql, sqlite

from threadlog.models.dialects.names import MYSQL

Rows: TypeAlias = Sequence[Mapping[str, Any]]

# The most bytes that the drivers make one INSERT of many rows; they share this constant of
# PyMySQL's cursor, max_stmt_length. What they add to the rows is little.
_JOINED_BYTES: Final = 900_000


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


def many_rows(
    statement: Insert, rows: Rows, size: int, dialect: str
) -> tuple[Insert] | tuple[Insert, Rows]:
    """Give what to execute so that the server gets many rows in one statement.

    The drivers of MySQL join rows to one statement as long as it is short, which is the
    quicker way: SQLAlchemy then builds nothing anew. Those of PostgreSQL send rows without
    waiting for an answer to each. For SQLite a row is no round trip.

    Args:
        statement: an INSERT.
        rows: its values, by column.
        size: about how many bytes they are in a statement.
        dialect: the name of the session's dialect.
    """
    if dialect in MYSQL and size > _JOINED_BYTES:
        return (statement.values(rows),)
    return statement, rows
