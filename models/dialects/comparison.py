"""Comparing identifiers byte by byte."""

from typing import Any

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from threadlog.models.dialects.names import MYSQL


class as_bytes(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """A text, to be compared byte by byte whatever its column's collation.

    MySQL's utf8mb4_bin ignores spaces at the end, and tables that other tools made have
    identifiers under collations that ignore case and accents too.
    """

    inherit_cache = True


@compiles(as_bytes)
def _bytes_of(element: as_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(as_bytes, *MYSQL)
def _bytes_of_mysql(element: as_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    # Of one character set: a table may be in another, and so may a host's connection.
    text = compiler.process(element.clauses, **kw)
    return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"


def id_equals(column: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Compare identifiers byte by byte, with the column's index where there is one."""
    return and_(column == other, as_bytes(column) == as_bytes(other))
