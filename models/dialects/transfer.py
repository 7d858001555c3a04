"""Tables with the types under which their values are carried to another database as they are.

JSON is read as its text, so that nothing on the way makes another number of one, and written
as the target's own. Times of the message log go as points in time, to what the column can hold.
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

# Where the columns of the message log are to the second: TIMESTAMP of MySQL and MariaDB, and
# on SQLite what CURRENT_TIMESTAMP writes, with which others are compared as text.
_TO_THE_SECOND: Final = frozenset({"sqlite", *MYSQL})


class RawJson(TypeDecorator[str]):
    """A JSON column as text; None is NULL, and ``null`` the JSON value."""

    impl = JSON
    cache_ok = True

    def __init__(self, column_type: TypeEngine[Any]) -> None:
        """Take the column's type, which writes documents as they are found again."""
        super().__init__()
        self.column_type = column_type

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Have statements treat it as the column."""
        return self.column_type.dialect_impl(dialect)

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Read text, where the driver would parse it."""
        return type_coerce(as_text(column), _TextOfJson())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Write the document as the column's type does; a number alone as `exact_json` does."""
        write = self.column_type.dialect_impl(dialect).bind_processor(dialect) or _itself
        in_bytes = dialect.name == "sqlite"

        def process(text: str | None) -> Any:
            if text is None:
                return None
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return text  # no JSON: the database is to say so, where it minds
            if in_bytes and isinstance(value, int | float) and not isinstance(value, bool):
                return json.dumps(value).encode()
            return write(JSON.NULL if value is None else value)

        return process


class _TextOfJson(TypeDecorator[str]):
    """The text of a JSON document, also where SQLite made a number of a number alone."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read it."""
        if isinstance(value, bytes):
            return value.decode()
        return value if value is None or isinstance(value, str) else json.dumps(value)


def _itself(value: Any) -> Any:
    return value


class RawTime(TypeDecorator[Any]):
    """A time of the message log, aware in Python.

    For sessions in UTC, as those that threadlog opens are. What is no time stays as it is.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Leave SQLite's text alone: SQLAlchemy would write another form of it."""
        plain = String() if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(plain)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write a time as the column's own default would."""
        if not isinstance(value, datetime):
            return value
        moment = truncate_to_column(value.astimezone(UTC), dialect.name)
        if dialect.name == "sqlite":
            return f"{moment:%Y-%m-%d %H:%M:%S}"
        return moment.replace(tzinfo=None) if dialect.name in _TO_THE_SECOND else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read a time."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return value
        if not isinstance(value, datetime):
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class RawText(TypeDecorator[str]):
    """A column of `ANY_TEXT`, such as the error of a run."""

    impl = Text
    cache_ok = True

    def __init__(self, column_type: TypeEngine[Any]) -> None:
        """Create from the column's type."""
        super().__init__()
        self.column_type = column_type

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type."""
        return self.column_type.dialect_impl(dialect)

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


def truncate_to_column(moment: datetime, dialect: str) -> datetime:
    """Give a time of the message log as a database can hold it.

    Args:
        moment: the time.
        dialect: the name of the database's dialect.
    """
    return moment.replace(microsecond=0) if dialect in _TO_THE_SECOND else moment


@cache
def transfer_table(table: Table) -> Table:
    """Give a table of the models as its rows are carried, without what is computed from others."""
    columns = [
        Column(column.name, _carried(column), primary_key=column.primary_key)
        for column in table.columns
        if column.computed is None
    ]
    return Table(table.name, MetaData(), *columns)


def _carried(column: Column[Any]) -> TypeEngine[Any]:
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
    """Give about how many bytes a value of a carried table has; 0 for NULL."""
    value = as_text(column) if isinstance(column.type, RawJson) else column
    return func.coalesce(func.length(value), 0)
