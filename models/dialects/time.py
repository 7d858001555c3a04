"""The server's clock, and conversion of stored times."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, DateTime, Integer, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.types import UtcTime


class now_and_on_update(ColumnElement[Any]):  # noqa: N801 - reads as a SQL function
    """A server default: the time of the insert and, where the server can, of each update.

    Not a FunctionElement: early SQLAlchemy 2.0 puts parentheses around a FunctionElement, which
    turns the default into an expression, and ON UPDATE into a syntax error. threadlog's own
    statements also set the column (``onupdate``), for servers without ON UPDATE.
    """

    inherit_cache = True


@compiles(now_and_on_update)
def _now(element: now_and_on_update, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(now_and_on_update, *MYSQL)
def _now_mysql(element: now_and_on_update, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"


class clock_time(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The server's time at evaluation, to the second.

    On MySQL CURRENT_TIMESTAMP is the time at which the statement began, before it waited
    for a row lock; SYSDATE() is the time after the wait.
    """

    type = DateTime()
    inherit_cache = True


@compiles(clock_time)
def _clock_time(element: clock_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(clock_time, *MYSQL)
def _clock_time_mysql(element: clock_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "SYSDATE()"


@compiles(clock_time, "postgresql")
def _clock_time_postgresql(element: clock_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "date_trunc('second', clock_timestamp())"


class statement_time(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The server's time at which the statement began.

    On PostgreSQL CURRENT_TIMESTAMP is the time at which the transaction began.
    """

    type = DateTime()
    inherit_cache = True


@compiles(statement_time)
def _statement_time(element: statement_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(statement_time, "postgresql")
def _statement_time_postgresql(element: statement_time, compiler: SQLCompiler, **kw: Any) -> str:
    return "statement_timestamp()"


class to_epoch(FunctionElement[int]):  # noqa: N801 - reads as a SQL function
    """A timestamp column as seconds since 1970 UTC, whatever the session's time zone.

    Whole seconds, except on PostgreSQL, whose timestamps have microseconds.
    """

    type = Integer()
    inherit_cache = True


@compiles(to_epoch, *MYSQL)
def _to_epoch_mysql(element: to_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"UNIX_TIMESTAMP({compiler.process(element.clauses, **kw)})"


@compiles(to_epoch, "sqlite")
def _to_epoch_sqlite(element: to_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER)"


@compiles(to_epoch, "postgresql")
def _to_epoch_postgresql(element: to_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return f"CAST(EXTRACT(EPOCH FROM {text}) AS DOUBLE PRECISION)"


class from_epoch(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """Seconds since 1970 UTC as a value to compare a timestamp column with."""

    type = DateTime()
    inherit_cache = True


@compiles(from_epoch, *MYSQL)
def _from_epoch_mysql(element: from_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"FROM_UNIXTIME({compiler.process(element.clauses, **kw)})"


@compiles(from_epoch, "sqlite")
def _from_epoch_sqlite(element: from_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"datetime({compiler.process(element.clauses, **kw)}, 'unixepoch')"


@compiles(from_epoch, "postgresql")
def _from_epoch_postgresql(element: from_epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"to_timestamp({compiler.process(element.clauses, **kw)})"


class seconds_ago(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """The server's time so many seconds ago, to compare a timestamp column with."""

    type = DateTime()
    inherit_cache = True


@compiles(seconds_ago, *MYSQL)
def _seconds_ago_mysql(element: seconds_ago, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(CURRENT_TIMESTAMP - INTERVAL {compiler.process(element.clauses, **kw)} SECOND)"


@compiles(seconds_ago, "sqlite")
def _seconds_ago_sqlite(element: seconds_ago, compiler: SQLCompiler, **kw: Any) -> str:
    return f"datetime('now', '-' || {compiler.process(element.clauses, **kw)} || ' seconds')"


@compiles(seconds_ago, "postgresql")
def _seconds_ago_postgresql(element: seconds_ago, compiler: SQLCompiler, **kw: Any) -> str:
    return _ago_postgresql(compiler.process(element.clauses, **kw))


class _utc_timestamp(FunctionElement[datetime]):  # noqa: N801 - reads as a SQL function
    """The server's time so many seconds ago, in UTC, to the microsecond."""

    type = UtcTime()
    inherit_cache = True


@compiles(_utc_timestamp, *MYSQL)
def _utc_timestamp_mysql(element: _utc_timestamp, compiler: SQLCompiler, **kw: Any) -> str:
    ago = compiler.process(element.clauses, **kw)
    return f"(UTC_TIMESTAMP(6) - INTERVAL {ago} * 1000000 MICROSECOND)"


@compiles(_utc_timestamp, "postgresql")
def _utc_timestamp_postgresql(element: _utc_timestamp, compiler: SQLCompiler, **kw: Any) -> str:
    return _ago_postgresql(compiler.process(element.clauses, **kw))


def _ago_postgresql(seconds: str) -> str:
    return f"(statement_timestamp() - make_interval(secs => {seconds}))"


def utc_now(dialect: str, *, seconds_ago: float = 0) -> ColumnElement[datetime]:
    """Return the database's time, minus `seconds_ago`, for a `UtcTime` column.

    On SQLite it is the time of this process, in which SQLite runs: SQLite's own functions
    have no microseconds.

    Args:
        dialect: the name of the session's dialect.
        seconds_ago: seconds before now; a negative number is in the future.
    """
    if dialect == "sqlite":
        then: BindParameter[datetime] = literal(
            datetime.now(UTC) - timedelta(seconds=seconds_ago), UtcTime()
        )
        return then
    return _utc_timestamp(literal(seconds_ago))
