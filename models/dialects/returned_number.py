"""An INSERT that locks a row, allocates the next number after the lock, and returns it."""

from typing import Final

from sqlalchemy import ColumnElement, Insert, Integer, case, func, literal_column

_ZERO, _ONE, _TWO = (literal_column(digit, Integer()) for digit in "012")

ONE_STATEMENT_DIALECTS: Final = frozenset({"mysql", "postgresql"})
"""Dialects in which one INSERT can lock a row, allocate the next number, and return it.

MySQL reads the number under the lock. PostgreSQL reads it in the statement's snapshot from
before the lock; a number that another transaction took in between is a duplicate key. MariaDB
does as PostgreSQL does, but waits for the lock with its old snapshot, and SQLite has no round
trips to save.
"""


def with_number_kept(
    number: ColumnElement[int], flag: ColumnElement[bool], dialect: str
) -> ColumnElement[int]:
    """Return `number` for an INSERT whose answer has the number together with a flag.

    MySQL has no RETURNING. It keeps the argument of LAST_INSERT_ID() and sends it with its
    answer: dev.mysql.com/doc/refman/9.7/en/information-functions.html. The driver's ``lastrowid``
    is twice the number, plus one if the flag is true.
    """
    if dialect == "postgresql":
        return number
    kept = func.last_insert_id(number * _TWO + case((flag, _ONE), else_=_ZERO))
    return kept.op("DIV")(_TWO)


def with_number_returned(
    statement: Insert, number: ColumnElement[int], flag: ColumnElement[bool], dialect: str
) -> Insert:
    """Return the INSERT with RETURNING where the server has it; see `with_number_kept`."""
    return statement.returning(number, flag) if dialect == "postgresql" else statement
