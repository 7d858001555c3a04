"""What an INSERT tells of the row that it made, on a server that returns no rows from it."""

from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Integer, Result, case, func, literal_column

_ZERO, _ONE, _TWO = (literal_column(digit, Integer()) for digit in "012")


def supports_last_insert_id(dialect: str) -> bool:
    """Say whether an INSERT can lock a row, find a place behind it, and tell which that was.

    MySQL can. MariaDB looks for the place before it has the lock, PostgreSQL in what it knew
    before, and SQLite's statements cost no way to a server.
    """
    return dialect == "mysql"


def encode_last_insert_id(
    number: ColumnElement[int], flag: ColumnElement[bool]
) -> ColumnElement[int]:
    """Give a number for an INSERT, which tells of it, and of a flag, to `told`.

    The server keeps what LAST_INSERT_ID() is given, and sends it with its answer:
    dev.mysql.com/doc/refman/9.7/en/information-functions.html.
    """
    kept = func.last_insert_id(number * _TWO + case((flag, _ONE), else_=_ZERO))
    return kept.op("DIV")(_TWO)


def decode_last_insert_id(result: Result[Any]) -> tuple[int, bool]:
    """Give the number and the flag of a row that was made; see `encode_last_insert_id`."""
    number, flag = divmod(cast("CursorResult[Any]", result).lastrowid, 2)
    return number, bool(flag)
