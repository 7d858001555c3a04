"""Reading the conversations of a file."""

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from threadlog.errors import ConversationError
from threadlog.importing import read_file

HELLO = [{"role": "user", "content": "hello"}]
OBJECT = {"messages": HELLO}


def conversations(text: str, mark: bytes = b"") -> list[tuple[int, Any]]:
    """Return the numbers and conversations of a file."""
    items = list(read_file(io.BytesIO(mark + text.encode())))
    return [
        (item.number, str(item.raw) if isinstance(item.raw, ConversationError) else item.raw)
        for item in items
    ]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([OBJECT, OBJECT], [(1, OBJECT), (2, OBJECT)]),
        ([HELLO, HELLO], [(1, HELLO), (2, HELLO)]),
        (OBJECT, [(1, OBJECT)]),
        (HELLO, [(1, HELLO)]),
    ],
)
def test_read_file_of_a_json_document_yields_its_conversations(
    document: Any, expected: Any, indent: int | None, mark: bytes
) -> None:
    assert conversations(json.dumps(document, indent=indent), mark) == expected


def test_read_file_of_json_lines_yields_lines_and_their_faults() -> None:
    bad = "The line is not JSON: Expecting value at character 1."
    line = json.dumps(OBJECT)
    assert conversations(f"\n{line}\n\nnonsense\n{line}") == [(2, OBJECT), (4, bad), (5, OBJECT)]
    assert conversations("") == []


def test_read_file_whose_first_line_is_broken_yields_the_others() -> None:
    (first, fault), second = conversations('{"messages": [\n' + json.dumps(HELLO))
    assert (first, second) == (1, (2, HELLO))
    assert fault.startswith("The line is not JSON: ")


def test_read_file_of_json_lines_reads_a_line_when_it_is_needed() -> None:
    def lines() -> Iterator[bytes]:
        for number in range(1_000_000):
            read.append(number)
            yield json.dumps(OBJECT).encode()

    read: list[int] = []
    items = read_file(lines())
    for _ in range(3):
        next(items)
    assert read == [0, 1, 2]


def test_read_file_of_a_large_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["threadlog.importing.read_file"], "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(ConversationError, match="larger than 100 bytes, up to which a JSON"):
        conversations(json.dumps([OBJECT] * 10, indent=1))
    assert len(conversations("\n".join([json.dumps(OBJECT)] * 10))) == 10
