"""The last rows by a key, as a part of a UNION."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, func


@dataclass(frozen=True, slots=True)
class LastRows:
    """Restricts a selection to its last rows, of which no others are read."""

    key: ColumnElement[Any]
    """The column by which they are the last."""

    first: Select[Any]
    """Selects the key of the first of them: uncorrelated, so that the server finds it once."""

    most: BindParameter[int]
    """How many they are."""

    def of(self, rows: Select[Any], dialect: str) -> Select[Any]:
        """Restrict a selection.

        MariaDB does not take a subquery for the bound of a range, and would read all rows.
        The others do; SQLite has no LIMIT within a UNION.

        Args:
            rows: the selection.
            dialect: the name of the session's dialect.
        """
        if dialect == "mariadb":
            return rows.order_by(self.key.desc()).limit(self.most)
        return rows.where(self.key >= func.coalesce(self.first.scalar_subquery(), 0))
