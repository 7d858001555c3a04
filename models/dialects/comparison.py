"""Comparing identifiers byte by byte."""

from typing import Any

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from threadlog.models.dialects.names import MYSQL


class bytes_of(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function
    """A text, to be compared byte by byte whatever its column's collation.

    MySQL's utf8mb4_bin ignores spaces at the end, and tables that other tools made have
    identifiers under collations that ignore case and accents too.
    """

    inherit_cache = True


@compiles(bytes_of)
def _bytes_of(element: bytes_of, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(bytes_of, *MYSQL)
def _bytes_of_mysql(element: bytes_of, compiler: SQLCompiler, **kw: Any) -> str:
    # Of one character set: a table may be in another, and so may a host's connection.
    text = compiler.process(element.clauses, **kw)
    return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"


def same_id(column: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Compare identifiers byte by byte, with the column's index where there is one."""
    return and_(column == other, bytes_of(column) == bytes_of(other))
