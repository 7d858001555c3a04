"""A number and a flag in the answer to an INSERT, for servers without INSERT … RETURNING."""

from typing import Final

from sqlalchemy import ColumnElement, Integer, case, func, literal_column

_ZERO, _ONE, _TWO = (literal_column(digit, Integer()) for digit in "012")

LAST_INSERT_ID_DIALECTS: Final = frozenset({"mysql"})
"""Dialects in which one INSERT can lock a row, then find the next seq, and return the seq.

MariaDB finds the seq before it has the lock, PostgreSQL in its snapshot from before the lock,
and SQLite has no round trips to save.
"""


def encode_last_insert_id(
    number: ColumnElement[int], flag: ColumnElement[bool]
) -> ColumnElement[int]:
    """Return `number` for an INSERT whose answer then has `number` together with a flag.

    The server keeps the argument of LAST_INSERT_ID() and sends it with its answer:
    dev.mysql.com/doc/refman/9.7/en/information-functions.html. The driver's ``lastrowid`` is
    twice the number, plus one if the flag is true.
    """
    kept = func.last_insert_id(number * _TWO + case((flag, _ONE), else_=_ZERO))
    return kept.op("DIV")(_TWO)
