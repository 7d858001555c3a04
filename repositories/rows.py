"""Counting the rows that a statement affected."""

from typing import Any, cast

from sqlalchemy import CursorResult, Result


def affected(result: Result[Any]) -> int:
    """Give how many rows an UPDATE or DELETE matched, or an INSERT made.

    MySQL counts rows that an UPDATE leaves unchanged too on connections with FOUND_ROWS,
    which SQLAlchemy's dialects for it set.
    """
    return cast("CursorResult[Any]", result).rowcount
