"""Tables with types that copy values to another database unchanged.

JSON is read as text, so that no number changes on the way, and written as the target's own JSON.
Times of the message log are copied as points in time, to the precision of the column.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    TIMESTAMP,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    func,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.types import ANY_TEXT, UtcTime

# Dialects whose columns of the message log have whole seconds: TIMESTAMP of MySQL and MariaDB,
# and on SQLite the text of CURRENT_TIMESTAMP, which is compared as text.
_TO_THE_SECOND: Final = frozenset({"sqlite", *MYSQL})


class _OfColumn(TypeDecorator[str]):
    """Text that the column's own type writes, so that queries find it."""

    impl: type[TypeEngine[Any]] = Text
    cache_ok = True

    def __init__(self, column_type: TypeEngine[Any]) -> None:
        """Create from the column's own type."""
        super().__init__()
        self.column_type = column_type

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's own type."""
        return self.column_type.dialect_impl(dialect)


class RawJson(_OfColumn):
    """A JSON column as text; None is NULL, and ``null`` the JSON value."""

    impl = JSON
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the column as text, which no driver parses."""
        return type_coerce(as_text(column), _TextOfJson())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return the column type's own writer, but with bare numbers as in `exact_json`."""
        write = self.column_type.dialect_impl(dialect).bind_processor(dialect) or _unchanged
        in_bytes = dialect.name == "sqlite"

        def process(text: str | None) -> Any:
            if text is None:
                return None
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return text  # not JSON: left to the database, which may reject it
            if in_bytes and isinstance(value, int | float) and not isinstance(value, bool):
                return json.dumps(value).encode()
            return write(JSON.NULL if value is None else value)

        return process


class _TextOfJson(TypeDecorator[str]):
    """The text of a JSON document, also if SQLite returns a bare number as a number."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text."""
        if isinstance(value, bytes):
            return value.decode()
        return value if value is None or isinstance(value, str) else json.dumps(value)


def _unchanged(value: Any) -> Any:
    return value


class RawTime(TypeDecorator[Any]):
    """A time of the message log, aware in Python.

    Only for sessions in UTC, as threadlog's own are. Other values stay unchanged.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's type: text on SQLite, whose format SQLAlchemy would change."""
        plain = String() if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(plain)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return a time in the format of the column's own default."""
        if not isinstance(value, datetime):
            return value
        utc = truncate_to_column(value.astimezone(UTC), dialect.name)
        if dialect.name == "sqlite":
            return f"{utc:%Y-%m-%d %H:%M:%S}"
        return utc.replace(tzinfo=None) if dialect.name in _TO_THE_SECOND else utc

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return a time, aware in UTC."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return value
        if not isinstance(value, datetime):
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class RawText(_OfColumn):
    """A column of `ANY_TEXT`, such as the error of a run."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write the text."""
        return text_for_column(value, dialect.name) if isinstance(value, str) else value


def text_for_column(text: str, dialect: str) -> str:
    """Return text as a database can store it: PostgreSQL has no NUL, U+FFFD takes its place.

    Args:
        text: the text.
        dialect: the name of the database's dialect.
    """
    return text.replace("\0", "\ufffd") if dialect == "postgresql" else text


def truncate_to_column(time: datetime, dialect: str) -> datetime:
    """Return a time of the message log, truncated to the precision of its column.

    Args:
        time: the time.
        dialect: the name of the database's dialect.
    """
    return time.replace(microsecond=0) if dialect in _TO_THE_SECOND else time


@cache
def transfer_table(table: Table) -> Table:
    """Return a table of the models with types for transfer, without its computed columns."""
    columns = [
        Column(column.name, _transfer_type(column), primary_key=column.primary_key)
        for column in table.columns
        if column.computed is None
    ]
    return Table(table.name, MetaData(), *columns)


def _transfer_type(column: Column[Any]) -> TypeEngine[Any]:
    type_ = column.type
    match getattr(type_, "impl_instance", type_):
        case _ if isinstance(type_, UtcTime):
            return type_
        case JSON():
            return RawJson(type_)
        case DateTime():
            return RawTime()
        case _ if ANY_TEXT.items() <= column.info.items():
            return RawText(type_)
        case _:
            return type_


def size_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the approximate size in bytes of a value of a transfer table; 0 for NULL."""
    value = as_text(column) if isinstance(column.type, RawJson) else column
    return func.coalesce(func.length(value), 0)
