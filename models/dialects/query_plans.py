"""Statements written so that each server reads only the rows that are wanted."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Boolean, ColumnElement, Select, Table, any_, func

from threadlog.models.dialects.template import Template


def force_primary_key(rows: Select[Any], table: Table, dialect: str) -> Select[Any]:
    """Return `rows` with a hint to use the primary key, though another index has their order.

    MariaDB 11.8 may scan the index in that order, and so the rows of all threads, until it has
    found as many as the LIMIT.

    Args:
        rows: the selection, with conditions on the first columns of the key.
        table: the table.
        dialect: the name of the session's dialect.
    """
    return rows.with_hint(table, "FORCE INDEX (PRIMARY)") if dialect == "mariadb" else rows


def prevent_index_sort(text: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    """Return `text` as an expression that no index of PostgreSQL has, for ORDER BY.

    PostgreSQL may scan as MariaDB does, see `force_primary_key`, and has no hints. On other
    servers `text` itself is returned.

    Args:
        text: the column.
        dialect: the name of the session's dialect.
    """
    return text.concat("") if dialect == "postgresql" else text


class IsWaiting(Template, mysql="(({0} IS NOT NULL) /*!80013 = 1 */)", other="({0} IS NOT NULL)"):
    """The condition that a thread has a question, in the form of the index of such threads.

    MySQL, not MariaDB, uses its index only where the expression is compared with a value.
    """

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Return the condition as it is: compared with 1, no index would be used."""
        return self


def prevent_key_scan(text: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    """Return `text` as an expression that no index of SQLite has.

    Without statistics SQLite prefers an index with the order of the page to a partial index
    with the few rows of the condition. On other servers `text` itself is returned.

    Args:
        text: the column.
        dialect: the name of the session's dialect.
    """
    return text.concat("") if dialect == "sqlite" else text


@dataclass(frozen=True, slots=True)
class LastRows:
    """Restricts a selection within a UNION to its last rows; no other rows are read."""

    key: ColumnElement[Any]
    """The column that orders the rows."""

    first: Select[Any]
    """Selects the key of the first of the last rows, for SQLite; uncorrelated: evaluated once."""

    most: BindParameter[int]
    """The number of last rows."""

    def of(self, rows: Select[Any], dialect: str) -> Select[Any]:
        """Return the selection, restricted to its last rows.

        SQLite has no LIMIT within a UNION. The servers read the rows backwards, which is quicker
        than finding the first one before them; MariaDB would not even use it as the bound of a
        range scan, and read all rows.

        Args:
            rows: the selection.
            dialect: the name of the session's dialect.
        """
        if dialect == "sqlite":
            return rows.where(self.key >= func.coalesce(self.first.scalar_subquery(), 0))
        return rows.order_by(self.key.desc()).limit(self.most)


def equals_item(
    column: ColumnElement[Any], items: Select[Any], dialect: str
) -> ColumnElement[bool] | None:
    """Return the condition that a column equals one of the few values of a subquery.

    PostgreSQL takes the items of a JSON array for a hundred, and reads a table of some thousand
    rows whole to join them; of the items of an array it estimates ten, and uses the index.

    Returns:
        The condition; None where a join is as good.
    """
    if dialect != "postgresql":
        return None
    return column == any_(func.array(items.scalar_subquery()))
