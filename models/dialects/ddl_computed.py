"""Columns that the database computes."""

from typing import Any

from sqlalchemy import ColumnElement, Computed, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler


class _Generated(Computed):
    """Virtual where the database has that; stored on PostgreSQL, which has it since 18."""

    inherit_cache = True

    def _copy(self, *, target_table: Table | None = None, **kw: Any) -> "_Generated":
        copied = super()._copy(target_table=target_table, **kw)
        return _Generated(copied.sqltext, persisted=copied.persisted)


@compiles(_Generated, "postgresql")
def _stored(element: _Generated, compiler: DDLCompiler, **kw: Any) -> str:
    return compiler.process(Computed(element.sqltext, persisted=True), **kw)


def computed(value: ColumnElement[Any]) -> Computed:
    """Give what makes a column one that the database computes.

    Args:
        value: of other columns of the row.
    """
    return _Generated(value, persisted=False)
