"""Read the conversations of a file: JSON Lines, or one JSON document."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

from threadlog.errors import ConversationError
from threadlog.formats.finding import paths_of_lists
from threadlog.formats.json_text import parse_json

MAX_DOCUMENT_BYTES: Final = 256 * 2**20
"""The size up to which a file that is not JSON Lines is read, as a whole."""

_BEGINNINGS: Final = (b"[", b"{", b"\xef\xbb\xbf")


class FileItem(NamedTuple):
    """A conversation of a file."""

    number: int
    """The number of the line, or of the conversation in a JSON document, from 1."""

    size: int
    """Bytes of the file that were read for it."""

    raw: Any
    """The conversation, or the error of a line that is not JSON."""


def read_file(file: Iterator[bytes]) -> Iterator[FileItem]:
    """Yield the conversations of a file, one line after the other if it is JSON Lines.

    The file is a JSON document if its first line is an array of conversations, or is not JSON
    and the whole file is.

    Raises:
        ConversationError: the file may be a JSON document, and is too large to be read as one.
    """
    head: list[bytes] = []
    for line in file:
        head.append(line)
        if line.strip():
            break
    document = _read_document(head, file)
    if document is None:
        yield from _read_lines(chain(head, file))
        return
    found = document if _is_array(document) else [document]
    size = sum(map(len, head))
    for number, raw in enumerate(found, start=1):
        yield FileItem(number, size if number == 1 else 0, raw)


def _read_lines(lines: Iterable[bytes]) -> Iterator[FileItem]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                raw = parse_json(line, "The line")
            except ConversationError as error:
                raw = error
            yield FileItem(number, len(line), raw)


def _read_document(head: list[bytes], file: Iterator[bytes]) -> Any:
    """Return the file's only JSON value, or None if it is JSON Lines; adds the lines to `head`."""
    if not head or not head[-1].lstrip().startswith(_BEGINNINGS):
        return None
    try:
        if not _is_array(parse_json(head[-1], "The line")):
            return None
    except ConversationError:
        pass
    size = len(head[-1])
    for line in file:
        head.append(line)
        size += len(line)
        if size > MAX_DOCUMENT_BYTES:
            raise ConversationError(
                "The first line is not a conversation, and the file is larger than "
                f"{MAX_DOCUMENT_BYTES:,} bytes, up to which a JSON document can be read. Write "
                "one conversation in each line."
            )
    try:
        return parse_json(b"".join(head), "The file")
    except ConversationError:
        return None


def _is_array(raw: object) -> bool:
    """Return True for a list of conversations, as against a list of messages."""
    if not isinstance(raw, list) or not raw:
        return False
    first = raw[0]
    if isinstance(first, dict):
        return not {"role", "type", "from"} & first.keys() and bool(paths_of_lists(first))
    return isinstance(first, list)
