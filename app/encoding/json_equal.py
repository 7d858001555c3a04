"""Compare JSON texts by value: databases format the same value differently."""

import json
from decimal import Decimal
from typing import Any


def json_equal(one: str | None, other: str | None) -> bool:
    """Return True if two JSON texts have the same value; None equals only None.

    The order of keys does not matter. Numbers are equal if their exact values are, as in
    ``1e2`` and ``100``, or if both are the same double, which is all that most databases store.
    An int that lost digits is not equal.
    """
    if one == other:
        return True
    if one is None or other is None:
        return False
    try:
        values = [json.loads(text, parse_float=Decimal) for text in (one, other)]
    except (ValueError, RecursionError):  # invalid JSON equals only the identical text
        return False
    return same_value(*values)


def same_value(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal; true and 1 are not, 1 and 1.0 are."""
    # An explicit stack: values may be nested deeper than Python's recursion limit.
    stack = [(one, other)]
    while stack:
        mine, given = stack.pop()
        match mine, given:
            case (dict(), dict()) if mine.keys() == given.keys():
                stack += [(mine[key], given[key]) for key in mine]
            case (list(), list()) if len(mine) == len(given):
                stack += zip(mine, given, strict=True)
            case _ if not _same_scalar(mine, given):
                return False
    return True


def _same_scalar(one: Any, other: Any) -> bool:
    if is_number(one) and is_number(other):
        return bool(one == other or _as_double(one) == _as_double(other))
    return type(one) is type(other) and bool(one == other)


def is_number(value: object) -> bool:
    """Return True for a number of JSON."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _as_double(number: float | Decimal) -> float:
    """Return the double of a number; an int, which most databases store exactly, is unchanged."""
    return number if isinstance(number, int) else float(number)
