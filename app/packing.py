"""Fits rows into statements: a server refuses a statement above its packet limit, and may
close the connection over it, so sizes are known before anything is sent.
"""

import json
from collections.abc import Iterable
from typing import Final

from threadlog.errors import TooLargeError
from threadlog.repositories.message import NewMessage

# Bytes that a string literal of MySQL holds as two:
# dev.mysql.com/doc/refman/9.7/en/string-literals.html
_ESCAPED: Final = b"\0\n\r\x1a\"'\\"

# Room for ids, keywords and punctuation: two ids of 255 characters take up to 4 bytes each.
_ROW_OVERHEAD: Final = 3_000
_STATEMENT_OVERHEAD: Final = 1_000


def in_batches(messages: Iterable[NewMessage], limit: int) -> list[list[NewMessage]]:
    """Divide encoded messages, in order, so that each batch fits into one statement.

    Args:
        messages: the messages.
        limit: the most bytes that a statement may have.

    Raises:
        TooLargeError: one message alone does not fit.
    """
    batches: list[list[NewMessage]] = []
    room = 0
    for index, message in enumerate(messages):
        size = _literal_size(message.payload) + _ROW_OVERHEAD
        if message.metadata:
            size += _literal_size(json.dumps(message.metadata).encode())
        if size > limit - _STATEMENT_OVERHEAD:
            raise TooLargeError(what=f"messages[{index}]", size=size, limit=limit)
        if size > room:
            batches.append([])
            room = limit - _STATEMENT_OVERHEAD
        batches[-1].append(message)
        room -= size
    return batches


def check_size(value: object, what: str, limit: int) -> None:
    """Refuse a JSON value that does not fit into one statement.

    Raises:
        TooLargeError: it does not.
    """
    size = _literal_size(json.dumps(value).encode()) + _ROW_OVERHEAD
    if size > limit - _STATEMENT_OVERHEAD:
        raise TooLargeError(what=what, size=size, limit=limit)


def _literal_size(value: bytes) -> int:
    return 2 * len(value) - len(value.translate(None, _ESCAPED))
