"""What a server is told about how to find rows."""

from typing import Any

from sqlalchemy import ColumnElement, Select, Table


def force_primary_key(rows: Select[Any], table: Table, dialect: str) -> Select[Any]:
    """Have rows be found by the key of their table, though another index has their order.

    MariaDB 11.8 may walk through that index, and so through the rows of everybody, until it
    has met as many as are wanted.

    Args:
        rows: the selection, with conditions on the first columns of the key.
        table: the table.
        dialect: the name of the session's dialect.
    """
    return rows.with_hint(table, "FORCE INDEX (PRIMARY)") if dialect == "mariadb" else rows


def prevent_index_sort(text: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    """Give a text to order by that PostgreSQL has in no index; elsewhere the text itself.

    PostgreSQL may do the same as MariaDB, see `force_primary_key`, and takes no hints.

    Args:
        text: the column.
        dialect: the name of the session's dialect.
    """
    return text.concat("") if dialect == "postgresql" else text
