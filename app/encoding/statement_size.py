"""Divide rows into statements by size, before anything is sent.

A server refuses a statement above its packet limit, and may close the connection.
"""

import json
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from threadlog.encryption import OVERHEAD
from threadlog.errors import TooLargeError
from threadlog.repositories.log.message import NewMessage

T = TypeVar("T")

# Bytes that drivers for MySQL escape, as two bytes, in a string literal:
# dev.mysql.com/doc/refman/9.7/en/string-literals.html
_ESCAPED: Final = b"\0\n\r\x1a\"'\\"

# Room for ids, keywords and punctuation: two ids of 255 characters take up to 4 bytes each.
ROW_OVERHEAD: Final = 3_000
STATEMENT_OVERHEAD: Final = 1_000
"""Bytes of a statement in addition to its rows."""

# Quotes, a comma, and the function that decodes a binary value.
VALUE_OVERHEAD: Final = 32


class Batch(NamedTuple, Generic[T]):
    """Rows that fit into one statement."""

    rows: list[T]
    size: int
    """The rows' approximate size in the statement, in bytes."""


def in_batches(messages: Iterable[NewMessage], limit: int) -> list[Batch[NewMessage]]:
    """Divide encoded messages, in order, so that each batch fits into one statement.

    Args:
        messages: the encoded messages.
        limit: the maximum size of a statement, in bytes.

    Raises:
        TooLargeError: a single message does not fit.
    """
    sized = (
        (message, f"messages[{index}]", _message_size(message))
        for index, message in enumerate(messages)
    )
    return batches(sized, limit)


def batches(rows: Iterable[tuple[T, str, int]], limit: int) -> list[Batch[T]]:
    """Divide rows, in order, so that each batch fits into one statement.

    Args:
        rows: each row with its name in errors, and its size; see `row_size`.
        limit: the maximum size of a statement, in bytes.

    Raises:
        TooLargeError: a single row does not fit.
    """
    found: list[list[T]] = []
    sizes: list[int] = []
    room = limit - STATEMENT_OVERHEAD
    for row, what, size in rows:
        _check_total(what, size, limit)
        if not found or sizes[-1] + size > room:
            found.append([])
            sizes.append(0)
        found[-1].append(row)
        sizes[-1] += size
    return [Batch(batch, size) for batch, size in zip(found, sizes, strict=True)]


def row_size(*values: bytes | str) -> int:
    """Return the maximum size, in bytes, of a row of all these values in a statement.

    Text is written with escapes, bytes in base64.
    """
    size = VALUE_OVERHEAD * len(values)
    for value in values:
        if isinstance(value, str):
            size += _literal_size(value.encode())
        else:
            size += (len(value) + 2) // 3 * 4
    return size


def check_row(what: str, *values: bytes | str, limit: int) -> None:
    """Raise TooLargeError if a row of these values does not fit into one statement."""
    _check_total(what, row_size(*values), limit)


def _message_size(message: NewMessage) -> int:
    metadata = json.dumps(message.metadata) if message.metadata else ""
    return row_size(message.payload, metadata) + ROW_OVERHEAD


def check_size(value: object, what: str, limit: int, *, encrypted: bool = False) -> None:
    """Raise TooLargeError if a JSON value does not fit into a statement, perhaps encrypted."""
    text = json.dumps(value, ensure_ascii=not encrypted).encode()
    size = row_size(bytes(OVERHEAD) + text) if encrypted else _literal_size(text)
    _check_total(what, size + ROW_OVERHEAD, limit)


def _check_total(what: str, size: int, limit: int) -> None:
    if size > limit - STATEMENT_OVERHEAD:
        raise TooLargeError(what=what, size=size, limit=limit)


def _literal_size(value: bytes) -> int:
    return 2 * len(value) - len(value.translate(None, _ESCAPED))
