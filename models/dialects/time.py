"""The server's clock, and conversion of stored times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, cast

from sqlalchemy import (
    TIMESTAMP,
    BindParameter,
    Boolean,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    Integer,
    TypeDecorator,
    and_,
    literal,
    text,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.operators import between_op
from sqlalchemy.types import TypeEngine

from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.template import Template
from threadlog.models.dialects.types import SecondsAgo, UtcTime

NOW: Final = text("CURRENT_TIMESTAMP")
"""A server default: the time of the insert."""


class now_and_on_update(ColumnElement[Any]):  # noqa: N801 - reads as a SQL function
    """A server default: the time of the insert and, where the server can, of each update.

    Not a FunctionElement: early SQLAlchemy 2.0 puts parentheses around a FunctionElement, which
    turns the default into an expression, and ON UPDATE into a syntax error. threadlog's own
    statements also set the column (``onupdate``), for servers without ON UPDATE.
    """

    inherit_cache = True


@compiles(now_and_on_update)
def _now(element: now_and_on_update, compiler: SQLCompiler, **kw: Any) -> str:
    on_update = compiler.dialect.name in MYSQL
    return "CURRENT_TIMESTAMP" + " ON UPDATE CURRENT_TIMESTAMP" * on_update


class is_before_clock(  # noqa: N801 - reads as a SQL function
    Template,
    mysql=(
        "(UNIX_TIMESTAMP({0}) < UNIX_TIMESTAMP()"
        " + TIMESTAMPDIFF(SECOND, CURRENT_TIMESTAMP, SYSDATE()))"
    ),
    postgresql="({0} < date_trunc('second', clock_timestamp()))",
    other="({0} < CURRENT_TIMESTAMP)",
):
    """The condition that a timestamp column is in an earlier second than the server's clock.

    On MySQL CURRENT_TIMESTAMP is the time at which the statement began, before it waited
    for a row lock; SYSDATE() is the time after the wait. The difference is the wait, as both
    are local times.
    """

    type = Boolean()


class statement_time(  # noqa: N801 - reads as a SQL function
    Template,
    mysql=("/*!80019 COALESCE(CONCAT(UTC_TIMESTAMP, '+00:00'), */ CURRENT_TIMESTAMP /*!80019 ) */"),
    postgresql="statement_timestamp()",
    other="CURRENT_TIMESTAMP",
):
    """The server's time at which the statement began, to store in a timestamp column.

    On PostgreSQL CURRENT_TIMESTAMP is the time at which the transaction began. MySQL stores it as
    the local time that it is, an hour early after the clock was set back; with an offset, which it
    knows from 8.0.19 on, as the time that is meant. MariaDB does so without one.
    """

    type = DateTime()


class to_epoch(  # noqa: N801 - reads as a SQL function
    Template,
    mysql="UNIX_TIMESTAMP({0})",
    postgresql="CAST(EXTRACT(EPOCH FROM {0}) AS DOUBLE PRECISION)",
    other="CAST(strftime('%s', {0}) AS INTEGER)",
):
    """A timestamp column as seconds since 1970 UTC, whatever the session's time zone.

    Whole seconds, except on PostgreSQL, whose timestamps have microseconds.
    """

    type = Integer()


class age(  # noqa: N801 - reads as a SQL function
    Template,
    mysql="(UNIX_TIMESTAMP() - UNIX_TIMESTAMP({0}))",
    postgresql="EXTRACT(EPOCH FROM statement_timestamp() - {0})",
    other="(strftime('%s', 'now') - strftime('%s', {0}))",
):
    """The seconds since a timestamp column's time, whatever the session's time zone.

    On MySQL UNIX_TIMESTAMP() without an argument: NOW() is a local time, which may come twice.
    """

    type = Double()


class _Latest(
    Template,
    other="GREATEST(FROM_UNIXTIME({0}), FROM_UNIXTIME({0} - 7200) + INTERVAL 2 HOUR)",
):
    """The latest local time of all until an epoch, for MySQL, which compares local times.

    An index is used. The hour before the clock is set back comes twice, so for two hours
    it is the time of a clock that was not set back.
    """

    type = DateTime()


class _Earliest(
    Template,
    other="LEAST(FROM_UNIXTIME({0}), FROM_UNIXTIME({0} + 7200) - INTERVAL 2 HOUR)",
):
    """The earliest local time of all from an epoch on; see `_Latest`."""

    type = DateTime()


class _InDialect(Template, mysql="({1})", other="({0})"):
    """A condition on most databases, and another on MySQL and MariaDB."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Return the condition as it is: compared with 1, no index would be used."""
        return self


class Timestamp(TypeDecorator[datetime]):
    """A point in time, with a time zone if the database supports it.

    An aware datetime in a comparison is a point in time everywhere. Otherwise MySQL's sessions
    read and write local times, and SQLite has UTC.
    """

    impl = TIMESTAMP
    cache_ok = True

    class comparator_factory(TypeDecorator.Comparator[Any], DateTime.Comparator[Any]):  # noqa: N801 - SQLAlchemy's name
        """Compares with aware datetimes."""

        def operate(self, op: Any, *other: Any, **kw: Any) -> Any:
            """Return a comparison with points in time, whatever the session's time zone."""
            match other:
                case [datetime(tzinfo=tzinfo()) as time] if op in _LATEST | _EARLIEST | {ne}:
                    plain = super().operate(op, time, **kw)
                    return _InDialect(plain, _mysql_condition(op, self.expr, time.timestamp()))
                case [datetime(tzinfo=tzinfo()) as first, last] if op is between_op:
                    return and_(self.operate(ge, first, **kw), self.operate(le, last, **kw))
            return super().operate(op, *other, **kw)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the type of the database."""
        return TIMESTAMP(timezone=dialect.name == "postgresql")

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return a converter of aware datetimes to UTC; on SQLite to the text of its clock."""
        if dialect.name == "postgresql":
            return super().bind_processor(dialect)

        def process(time: datetime | None) -> Any:
            if time is not None and time.tzinfo is not None:
                time = time.astimezone(UTC).replace(tzinfo=None)
            return time.isoformat(" ") if time and dialect.name == "sqlite" else time

        return process


_LATEST: Final = {lt, le, eq}
_EARLIEST: Final = {gt, ge, eq}

# The range of TIMESTAMP on most servers; without a bound no index is used.
_BOUNDED: Final = range(7200, 2**31 - 7200)


def _mysql_condition(op: Any, column: ColumnElement[Any], seconds: float) -> ColumnElement[bool]:
    """Return the comparison of a column with an epoch, and a wider one by an index."""
    epoch: BindParameter[float] = literal(seconds, Double())
    conditions = [op(to_epoch(column), epoch)]
    if op in _LATEST and int(seconds) in _BOUNDED:
        conditions.append(column <= _Latest(epoch))
    if op in _EARLIEST and int(seconds) in _BOUNDED:
        conditions.append(column >= _Earliest(epoch))
    return and_(*conditions)


class _UtcTimestamp(
    Template,
    mysql="(UTC_TIMESTAMP(6) - INTERVAL {0} * 1000000 MICROSECOND)",
    postgresql="(statement_timestamp() - make_interval(secs => {0}))",
):
    """The server's time so many seconds ago, in UTC, to the microsecond."""

    type = UtcTime()


def utc_now(
    dialect: str, *, seconds_ago: float | BindParameter[Any] = 0
) -> ColumnElement[datetime]:
    """Return the database's time, minus `seconds_ago`, for a `UtcTime` column.

    On SQLite it is the time of this process, in which SQLite runs: SQLite's own functions
    have no microseconds.

    Args:
        dialect: the name of the session's dialect.
        seconds_ago: seconds before now; a negative number is in the future. A parameter, in a
            `Statement`, whose constants are converted once.
    """
    given = isinstance(seconds_ago, BindParameter)
    if dialect == "sqlite":
        if given:
            return type_coerce(seconds_ago, SecondsAgo())
        return literal(datetime.now(UTC) - timedelta(seconds=cast("float", seconds_ago)), UtcTime())
    return _UtcTimestamp(type_coerce(seconds_ago, Double()) if given else literal(seconds_ago))


def now_parameter(dialect: str) -> datetime | float:
    """Return a parameter of `utc_now` that is the same instant wherever a statement has it.

    SQLite's would otherwise read the clock at each place.
    """
    return datetime.now(UTC) if dialect == "sqlite" else 0.0
