"""Fits rows into statements: a server refuses a statement above its packet limit, and may
close the connection over it, so sizes are known before anything is sent.
"""

import json
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from threadlog.errors import TooLargeError
from threadlog.repositories.log.message import NewMessage

T = TypeVar("T")

# Bytes that a string literal of MySQL holds as two:
# dev.mysql.com/doc/refman/9.7/en/string-literals.html
_ESCAPED: Final = b"\0\n\r\x1a\"'\\"

# Room for ids, keywords and punctuation: two ids of 255 characters take up to 4 bytes each.
ROW_OVERHEAD: Final = 3_000
STATEMENT_OVERHEAD: Final = 1_000
"""Bytes of a statement that are not its rows'."""

# Quotes, comma, and what says that a value is binary.
_VALUE_OVERHEAD: Final = 16


class Batch(NamedTuple, Generic[T]):
    """Rows that fit into one statement."""

    rows: list[T]
    size: int
    """About how many bytes they are in it."""


def in_batches(messages: Iterable[NewMessage], limit: int) -> list[Batch[NewMessage]]:
    """Divide encoded messages, in order, so that each batch fits into one statement.

    Args:
        messages: the messages.
        limit: the most bytes that a statement may have.

    Raises:
        TooLargeError: one message alone does not fit.
    """
    sized = (
        (message, f"messages[{index}]", _message_size(message))
        for index, message in enumerate(messages)
    )
    return batches(sized, limit)


def batches(rows: Iterable[tuple[T, str, int]], limit: int) -> list[Batch[T]]:
    """Divide rows, in order, so that each batch fits into one statement.

    Args:
        rows: each row with what it is called in an error, and its size; see `row_size`.
        limit: the most bytes that a statement may have.

    Raises:
        TooLargeError: one row alone does not fit.
    """
    found: list[list[T]] = []
    sizes: list[int] = []
    room = limit - STATEMENT_OVERHEAD
    for row, what, size in rows:
        if size > room:
            raise TooLargeError(what=what, size=size, limit=limit)
        if not found or sizes[-1] + size > room:
            found.append([])
            sizes.append(0)
        found[-1].append(row)
        sizes[-1] += size
    return [Batch(batch, size) for batch, size in zip(found, sizes, strict=True)]


def row_size(*values: bytes | str) -> int:
    """Give the most bytes that a row of these values, all of them, has in a statement."""
    contents = (value.encode() if isinstance(value, str) else value for value in values)
    return sum(_literal_size(content) + _VALUE_OVERHEAD for content in contents)


def check_row(what: str, *values: bytes | str, limit: int) -> None:
    """Refuse a row that does not fit into one statement.

    Raises:
        TooLargeError: it does not.
    """
    size = row_size(*values)
    if size > limit - STATEMENT_OVERHEAD:
        raise TooLargeError(what=what, size=size, limit=limit)


def _message_size(message: NewMessage) -> int:
    metadata = json.dumps(message.metadata).encode() if message.metadata else b""
    return row_size(message.payload, metadata) + ROW_OVERHEAD


def check_size(value: object, what: str, limit: int) -> None:
    """Refuse a JSON value that does not fit into one statement.

    Raises:
        TooLargeError: it does not.
    """
    size = _literal_size(json.dumps(value).encode()) + ROW_OVERHEAD
    if size > limit - STATEMENT_OVERHEAD:
        raise TooLargeError(what=what, size=size, limit=limit)


def _literal_size(value: bytes) -> int:
    return 2 * len(value) - len(value.translate(None, _ESCAPED))
