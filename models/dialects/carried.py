"""Tables with the types under which their values are carried to another database as they are.

JSON goes as its text, so that nothing on the way makes another number or another order of it.
Times of the message log go as points in time, to what the column can hold.
"""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    TIMESTAMP,
    BindParameter,
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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

# Where the columns of the message log are to the second: TIMESTAMP of MySQL and MariaDB, and
# on SQLite what CURRENT_TIMESTAMP writes, with which others are compared as text.
_TO_THE_SECOND: Final = frozenset({"mysql", "mariadb", "sqlite"})


class _text_of_json(FunctionElement[str]):  # noqa: N801 - reads as a SQL function
    """The text of a JSON column."""

    inherit_cache = True


@compiles(_text_of_json)
def _text_of_json_itself(element: _text_of_json, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_text_of_json, "postgresql")
def _text_of_json_cast(element: _text_of_json, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS TEXT)"


class _json_of_text(FunctionElement[str]):  # noqa: N801 - reads as a SQL function
    """A JSON column's value, given as text."""

    inherit_cache = True


@compiles(_json_of_text)
def _json_of_text_itself(element: _json_of_text, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(_json_of_text, "postgresql")
def _json_of_text_cast(element: _json_of_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS JSONB)"


class CarriedJson(TypeDecorator[str]):
    """A JSON column as text; None is NULL, and ``null`` the JSON value."""

    impl = Text
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Read text, where the driver would parse it."""
        return type_coerce(_text_of_json(column), self)

    def bind_expression(self, bindparam: BindParameter[Any]) -> ColumnElement[Any]:
        """Write text, where the column takes none."""
        return _json_of_text(bindparam)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Write a number alone as bytes on SQLite; see `exact_json`."""
        if value is not None and dialect.name == "sqlite" and value.lstrip()[:1] in "-0123456789":
            return value.encode()
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read what SQLite may have made of a number alone as its text."""
        if isinstance(value, bytes):
            return value.decode()
        return value if value is None or isinstance(value, str) else json.dumps(value)


class CarriedTime(TypeDecorator[Any]):
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
        moment = as_held(value.astimezone(UTC), dialect.name)
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


def as_held(moment: datetime, dialect: str) -> datetime:
    """Give a time of the message log as a database can hold it.

    Args:
        moment: the time.
        dialect: the name of the database's dialect.
    """
    return moment.replace(microsecond=0) if dialect in _TO_THE_SECOND else moment


@cache
def carried(table: Table) -> Table:
    """Give a table of the models as its rows are carried, without what is computed from others."""
    columns = [
        Column(column.name, _carried(column.type), primary_key=column.primary_key)
        for column in table.columns
        if column.computed is None
    ]
    return Table(table.name, MetaData(), *columns)


def _carried(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    match type_:
        case JSON():
            return CarriedJson()
        case DateTime():
            return CarriedTime()
        case _:
            return type_


def size_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Give about how many bytes a value of a carried table has; 0 for NULL."""
    value = _text_of_json(column) if isinstance(column.type, CarriedJson) else column
    return func.coalesce(func.length(value), 0)
