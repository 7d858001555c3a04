"""Whether two texts are the same JSON value, however a database writes it."""

import json
from decimal import Decimal
from typing import Any


def json_equal(one: str | None, other: str | None) -> bool:
    """Compare texts of JSON; None is the same as None only.

    The order of keys does not matter. Numbers are the same if their digits mean the same, as in
    ``1e2`` and ``100``, or if both are one double, which is all that most databases keep of
    them. An int that lost digits is not the same.
    """
    if one == other:
        return True
    if one is None or other is None:
        return False
    try:
        values = [json.loads(text, parse_float=Decimal) for text in (one, other)]
    except (ValueError, RecursionError):  # what is no JSON is the same as its own text only
        return False
    return _same(*values)


def _same(one: Any, other: Any) -> bool:
    # A stack of our own, as the values may be nested deeply.
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
    numbers = (_is_number(one), _is_number(other))
    if all(numbers):
        return _same_number(one, other)
    return not any(numbers) and type(one) is type(other) and bool(one == other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _same_number(one: float | Decimal, other: float | Decimal) -> bool:
    if one == other:
        return True
    if isinstance(one, int):
        one, other = other, one
    if isinstance(one, int):
        return False
    # Of an int and a double the exact values are compared.
    return float(one) == (other if isinstance(other, int) else float(other))
