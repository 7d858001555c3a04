"""The one place in the models that knows how databases differ.

Callers use the names below and never ask which database they run on. A further database
is added by giving each construct its rendering here.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Insert,
    Integer,
    LargeBinary,
    String,
    Table,
    and_,
    type_coerce,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

PARTITION_COUNT: Final = 64
"""Partitions of the messages and runs tables, where the database partitions them."""

TABLE_OPTIONS: Final[dict[str, Any]] = {"mysql_engine": "InnoDB"}
"""Options of every table."""

PARTITIONED_BY_THREAD: Final[dict[str, Any]] = {
    **TABLE_OPTIONS,
    "mysql_partition_by": "KEY (thread_id)",
    # A string: SQLAlchemy joins the rendered options and raises TypeError on an int.
    "mysql_partitions": str(PARTITION_COUNT),
}
"""Options of a table that is spread over its partitions by thread_id."""


def identifier() -> String:
    """Give the type of an identifier column: 255 characters, compared byte by byte."""
    return exact_text(String(255))


def exact_text(type_: String) -> String:
    """Give a text type of the same length that compares byte by byte.

    MySQL's default collations take ``R1`` and ``r1`` for one key; ``utf8mb4_bin`` does
    not. SQLite compares bytes as it is.
    """
    return type_.with_variant(mysql.VARCHAR(type_.length, collation="utf8mb4_bin"), "mysql")


def packed() -> LargeBinary:
    """Give the type of a message's packed bytes, which holds up to 4 GiB on MySQL."""
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")


def exact_json(value: Any, dialect: str) -> Any:
    """Give what to insert into a JSON column so that a number alone keeps its digits.

    SQLite makes a number of its own of the text of one, which may change a float's last
    digit and an int beyond 64 bits; bytes it leaves as they are:
    https://sqlite.org/datatype3.html, section 3.1.

    Args:
        value: the JSON value.
        dialect: the name of the session's dialect.
    """
    if dialect == "sqlite" and isinstance(value, int | float) and not isinstance(value, bool):
        return type_coerce(json.dumps(value).encode(), LargeBinary)
    return value


@cache
def insert_if_absent(table: Table, dialect: str) -> Insert:
    """Build an INSERT that locks, but leaves alone, a row which has this primary key already.

    Unlike MySQL's INSERT IGNORE it hides no other error.

    Args:
        table: the table; its first primary key column stands in for "change nothing".
        dialect: the name of the session's dialect.
    """
    if dialect == "mysql":
        key = next(iter(table.primary_key))
        return mysql.insert(table).on_duplicate_key_update({key.name: key})
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table, dialect: str, row: Mapping[str, Any]) -> Insert:
    """Build an INSERT that overwrites a row which has this primary key already.

    The key is overwritten too: where a collation takes two keys for one, the later stands.

    Args:
        table: the table.
        dialect: the name of the session's dialect.
        row: values, or SQL expressions, by column.
    """
    if dialect == "mysql":
        new = mysql.insert(table).values(row)
        return new.on_duplicate_key_update({name: new.inserted[name] for name in row})
    given = sqlite.insert(table).values(row)
    key = [column.name for column in table.primary_key]
    return given.on_conflict_do_update(key, set_={name: given.excluded[name] for name in row})


class bytes_of(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """A text, to be compared byte by byte whatever its column's collation.

    MySQL's utf8mb4_bin ignores spaces at the end, and tables that other tools made have
    identifiers under collations that ignore case and accents too.
    """

    inherit_cache = True


@compiles(bytes_of)
def _bytes_of(element: bytes_of, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(bytes_of, "mysql")
def _bytes_of_mysql(element: bytes_of, compiler: SQLCompiler, **kw: Any) -> str:
    # Of one character set: a table may be in another, and so may a host's connection.
    text = compiler.process(element.clauses, **kw)
    return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"


def same_id(column: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Compare identifiers byte by byte, with the column's index where there is one."""
    return and_(column == other, bytes_of(column) == bytes_of(other))


class now_and_on_update(ColumnElement[Any]):  # noqa: N801 - reads as a SQL function
    """A server default: the time of the insert and, where the server can, of each update.

    No FunctionElement: early SQLAlchemy 2.0 puts parentheses around those, which makes an
    expression of the default, and ON UPDATE a syntax error. Statements built by threadlog
    set the column themselves too (``onupdate``), for the servers that cannot.
    """

    inherit_cache = True


@compiles(now_and_on_update)
def _now(element: now_and_on_update, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(now_and_on_update, "mysql")
def _now_mysql(element: now_and_on_update, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"


class clock_time(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The server's time at evaluation, to the second.

    On MySQL CURRENT_TIMESTAMP is the time at which the statement began, before it waited
    for a row lock; SYSDATE() is the time after.
    """

    type = DateTime()
    inherit_cache = True


@compiles(clock_time)
def _clock_time(element: clock_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(clock_time, "mysql")
def _clock_time_mysql(element: clock_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "SYSDATE()"


class to_epoch(FunctionElement[int]):  # noqa: N801 - reads as a SQL function
    """A timestamp column as whole seconds since 1970 UTC, whatever the session's time zone."""

    type = Integer()
    inherit_cache = True


@compiles(to_epoch, "mysql")
def _to_epoch_mysql(element: to_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"UNIX_TIMESTAMP({compiler.process(element.clauses, **kw)})"


@compiles(to_epoch, "sqlite")
def _to_epoch_sqlite(element: to_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER)"


class from_epoch(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """Seconds since 1970 UTC as a value to compare a timestamp column with."""

    type = DateTime()
    inherit_cache = True


@compiles(from_epoch, "mysql")
def _from_epoch_mysql(element: from_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"FROM_UNIXTIME({compiler.process(element.clauses, **kw)})"


@compiles(from_epoch, "sqlite")
def _from_epoch_sqlite(element: from_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"datetime({compiler.process(element.clauses, **kw)}, 'unixepoch')"


class seconds_ago(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The server's time so many seconds ago, to compare a timestamp column with."""

    type = DateTime()
    inherit_cache = True


@compiles(seconds_ago, "mysql")
def _seconds_ago_mysql(element: seconds_ago, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(CURRENT_TIMESTAMP - INTERVAL {compiler.process(element.clauses, **kw)} SECOND)"


@compiles(seconds_ago, "sqlite")
def _seconds_ago_sqlite(element: seconds_ago, compiler: SQLCompiler, **kw: Any) -> str:
    return f"datetime('now', '-' || {compiler.process(element.clauses, **kw)} || ' seconds')"
