"""Equality of JSON values on MariaDB, where JSON is text and equal values may differ in form.

JSON_EQUALS, which compares values, came with 10.7, and reports different large numbers as equal.
JSON_EXTRACT finds a member only if its name is escaped as in the path, and JSON_CONTAINS text
only if it is escaped alike. JSON_VALUE, JSON_QUERY and JSON_EXISTS read escapes:
https://mariadb.com/kb/en/json-functions/.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, LargeBinary, Numeric, String, and_, cast, func, literal

from threadlog.models.dialects.types import as_bytes

# From here on not every int has an exact double; smaller numbers are compared as doubles.
_EXACT: Final = 2**53

_BOOLEANS: Final = {"1": ("true",), "0": ("false",)}


def has_member(document: ColumnElement[Any], key: str) -> ColumnElement[bool]:
    """Return the condition that an object has a member of this name."""
    return func.json_exists(document, _path(_member("$", key))) == 1


def member_equals(document: ColumnElement[Any], key: str, value: Any) -> ColumnElement[bool]:
    """Return the condition that an object has a member that equals a JSON value."""
    return and_(*_conditions(document, _member("$", key), value))


def _conditions(
    document: ColumnElement[Any], path: str, value: Any
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions part by part, each by its full path: deeply nested SQL is refused."""
    parts = [(path, value)]
    while parts:
        place, item = parts.pop()
        yield from _is_like(document, _path(place), item)
        if isinstance(item, dict):
            parts += [(_member(place, name), inner) for name, inner in item.items()]
        elif isinstance(item, list | tuple):
            parts += [(f"{place}[{number}]", inner) for number, inner in enumerate(item)]


def _is_like(
    document: ColumnElement[Any], path: ColumnElement[bytes], item: Any
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions on the kind, and on the number of items or the scalar value."""
    if isinstance(item, dict | list | tuple):
        names = func.json_keys(document, path)
        yield names.is_not(None) if isinstance(item, dict) else names.is_(None)
        yield func.json_query(document, path).is_not(None)
        yield func.json_length(document, path) == len(item)
        return
    yield func.json_query(document, path).is_(None)
    found = func.json_value(document, path)
    if isinstance(item, str):
        yield as_bytes(found) == as_bytes(literal(item, String()))
        for other in _same_json_value(item):
            yield func.json_contains(document, literal(other, String()), path) == 0
        return
    yield func.json_contains(document, literal(json.dumps(item), String()), path) == 1
    if isinstance(item, int | float) and not isinstance(item, bool):
        # JSON_CONTAINS distinguishes numbers from text, but reports close numbers as equal.
        yield found + literal(0.0) == literal(item)
        if isinstance(item, int) and abs(item) >= _EXACT:
            yield cast(found, Numeric(65, 0)) == literal(item)


def _same_json_value(text: str) -> Sequence[str]:
    """Return the JSON of numbers, true and false for which JSON_VALUE returns this text too."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return ()
    return (text, *_BOOLEANS.get(text, ())) if isinstance(value, int | float) else ()


def _refuse(word: str) -> None:
    raise ValueError(word)  # NaN and the infinities, which are not JSON


def _member(path: str, name: str) -> str:
    """Return the path of a member; a quoted name may have the escapes of a JSON string."""
    return f"{path}.{json.dumps(name)}"


def _path(path: str) -> ColumnElement[bytes]:
    """Return a path as ASCII bytes.

    MariaDB merges two calls whose arguments are equal by its collation, such as ``$.a`` and
    ``$.A``, and treats a condition on both as always false.
    """
    return literal(path.encode("ascii"), LargeBinary())
