"""Check arguments before a connection is used.

The limits are those of the strictest supported database, so that a value that one database
accepts, all accept.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from threadlog.errors import InvalidIdError, InvalidInputError, InvalidJsonError

MAX_ID_LENGTH: Final = 255
"""Maximum length of an identifier column, in characters."""

MAX_JSON_DEPTH: Final = 31
"""Maximum nesting of objects and arrays in a JSON document: MariaDB rejects a deeper one
(error 4025), MySQL one of over 100 levels (error 3157)."""

_MAX_JSON_KEY_BYTES: Final = 65_535
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
_MAX_SEQ: Final = 2**63 - 1
_REPLACEMENT: Final = "\ufffd"


def check_id(value: object, name: str = "thread_id", *, most: int = MAX_ID_LENGTH) -> None:
    """Check that every database can distinguish an identifier from all others.

    Raises:
        InvalidIdError: it is not a string, is empty, has over `most` characters, ends in
            a space (utf8mb4_bin pads: ``a`` and ``a `` would be one key), or contains NUL or
            half of a surrogate pair.
    """
    reason = None
    if not isinstance(value, str):
        reason = f"must be a string, not {type(value).__name__}"
    elif not value:
        reason = "must not be empty"
    elif len(value) > most:
        reason = f"must have at most {most} characters, not {len(value)}"
    elif value.endswith(" "):
        reason = "must not end in a space, which MySQL ignores when it compares keys"
    elif "\0" in value:
        reason = "must not contain a NUL character"
    elif not value.isascii() and _has_surrogate(value):
        reason = "must not contain half of a surrogate pair, which is not valid Unicode"
    if reason is not None:
        raise InvalidIdError(name=name, reason=reason)


def check_uuid(value: object, name: str) -> UUID:
    """Return the UUID of its text form: 36 characters, in lower case.

    Other spellings of a UUID would name the same row, but other threads in a checkpointer,
    which has the id as text.

    Raises:
        InvalidIdError: it is not a UUID in that form.
    """
    try:
        if isinstance(value, str) and str(parsed := UUID(value)) == value:
            return parsed
    except ValueError:
        pass
    raise InvalidIdError(name=name, reason="must be the text of a UUID in lower case: str(uuid4())")


def check_number(value: object, name: str, *, most: float) -> None:
    """Raise InvalidInputError if not a finite number from 0 to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidInputError(f"{name} must be a number from 0 to {most:,}, not {value!r}.")


def check_one_of(value: object, name: str, allowed: Iterable[str]) -> None:
    """Raise InvalidInputError if not one of the allowed strings."""
    words = list(allowed)
    if value not in words:
        raise InvalidInputError(f"{name} must be one of {', '.join(words)}, not {value!r}.")


def check_count(value: object, name: str, *, least: int) -> None:
    """Raise InvalidInputError if not an int from `least` to 2^63-1, the range of a seq.

    A subclass of int is refused: PyMySQL sends the name of an IntEnum.
    """
    if type(value) is not int or not least <= value <= _MAX_SEQ:
        raise InvalidInputError(f"{name} must be an int of at least {least}, not {value!r}.")


def check_list(value: object, name: str) -> None:
    """Raise InvalidInputError if not a list or tuple, such as a single message."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        kind = type(value).__name__
        raise InvalidInputError(f"{name} must be a list, not {kind}: write [message].")


def check_iterable(values: object, name: str) -> list[Any]:
    """Return the items of a collection of ids; raise InvalidInputError if not iterable, or text."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidInputError(f"{name} must be a list of ids, not {type(values).__name__}.")
    return list(values)


def check_ids(values: object, name: str) -> list[str]:
    """Return a collection's identifiers, each once.

    Raises:
        InvalidInputError: it is a string, or cannot be iterated.
        InvalidIdError: an identifier cannot be a key.
    """
    ids = check_iterable(values, name)
    for place, value in enumerate(ids):
        check_id(value, f"{name}[{place}]")
    return list(dict.fromkeys(ids))


def holds_surrogate(value: object) -> bool:
    """Return True if nested dicts, lists and strings contain half of a surrogate pair."""
    return any(isinstance(leaf, str) and _has_surrogate(leaf) for leaf in _leaves(value))


def changes_in_json(value: object) -> bool:
    """Return True if Pydantic would silently write another value as JSON.

    Pydantic writes U+FFFD for half of a surrogate pair in a dict's key, and null for NaN and
    infinities.
    """
    return holds_surrogate(value) or any(
        isinstance(leaf, float) and not math.isfinite(leaf) for leaf in _leaves(value)
    )


def _leaves(value: object) -> Iterator[object]:
    """Yield the values in nested dicts and lists, keys of dicts included."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            stack += item
        else:
            yield item


def check_text(value: str, name: str) -> None:
    """Raise InvalidInputError if text is not valid Unicode."""
    if not value.isascii() and _has_surrogate(value):
        raise InvalidInputError(f"{name} contains half of a surrogate pair.")


def check_name(value: object, name: str) -> None:
    """Check that every database can store a name, of any length.

    Raises:
        InvalidInputError: it is not a string, or contains NUL or half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a string, not {type(value).__name__}.")
    if not value.isascii():
        check_text(value, name)
    if "\0" in value:
        raise InvalidInputError(f"{name} contains a NUL character.")


def check_json_object(value: object, name: str) -> None:
    """Raise InvalidJsonError if not a dict, or not JSON; see `check_json`."""
    if not isinstance(value, dict):
        raise InvalidJsonError(path=name, reason=f"must be a dict, not {type(value).__name__}")
    if value:
        check_json(value, name)


def check_json(value: object, name: str) -> None:
    """Check that a JSON column stores a value unchanged.

    Raises:
        InvalidJsonError: it contains a key that is not a string, a value that JSON lacks, NaN or
            an infinity, an int beyond 64 bits, half of a surrogate pair, a NUL character, which
            PostgreSQL's JSONB lacks and which ends texts in SQLite's functions, or more than
            31 levels of objects and arrays.
    """
    # An explicit stack: a hostile value would exceed Python's recursion limit.
    stack: list[tuple[str, Any, int]] = [(name, value, 1)]
    while stack:
        path, item, depth = stack.pop()
        if isinstance(item, str) and item.isascii() and "\0" not in item:
            continue
        reason = None if item is None or isinstance(item, bool) else _json_error(item, depth)
        if reason is not None:
            raise InvalidJsonError(path=path, reason=reason)
        if isinstance(item, dict):
            for key, inner in item.items():
                plain = isinstance(key, str) and key.isascii() and len(key) <= MAX_ID_LENGTH
                if (not plain or "\0" in key) and (reason := _key_error(key)) is not None:
                    raise InvalidJsonError(path=path, reason=reason)
                stack.append((f"{path}[{key!r}]", inner, depth + 1))
        elif isinstance(item, list | tuple):
            stack += [(f"{path}[{i}]", inner, depth + 1) for i, inner in enumerate(item)]


def _json_error(item: object, depth: int) -> str | None:
    if depth > MAX_JSON_DEPTH and isinstance(item, dict | list | tuple):
        return f"is nested deeper than {MAX_JSON_DEPTH} levels"
    if isinstance(item, str):
        return _text_error(item)
    if item is None or isinstance(item, bool | dict | list | tuple):
        return None
    if isinstance(item, int):
        return None if _MIN_INT <= item <= _MAX_INT else "is an int beyond 64 bits"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"is {item}, which JSON lacks"
    return f"is of type {type(item).__name__}, which JSON lacks"


def _text_error(text: str) -> str | None:
    if "\0" in text:
        return "contains a NUL character"
    return "contains half of a surrogate pair" if _has_surrogate(text) else None


def _key_error(key: object) -> str | None:
    if not isinstance(key, str):
        return f"has the key {key!r}, which is not a string"
    if (reason := _text_error(key)) is not None:
        return f"has a key that {reason}"
    if len(key.encode()) > _MAX_JSON_KEY_BYTES:
        return f"has a key of over {_MAX_JSON_KEY_BYTES:,} bytes"
    return None


def replace_unstorable(text: str) -> str:
    """Return text with U+FFFD in place of each NUL and each half of a surrogate pair.

    Two halves that make a pair become its character.
    """
    text = text.replace("\0", _REPLACEMENT)
    if text.isascii() or not _has_surrogate(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _has_surrogate(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
