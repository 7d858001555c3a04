"""Fitting rows into statements, byte by byte."""

import pytest

from threadlog.encoding.statement_size import check_size, in_batches
from threadlog.errors import TooLargeError
from threadlog.repositories.log.message import NewMessage

LIMIT = 20_000


def row(payload: bytes = b"", **metadata: str) -> NewMessage:
    """Create an encoded message."""
    return NewMessage("user", dict(metadata), payload, None)


def test_rows_that_fit_share_a_statement() -> None:
    rows = [row(bytes([n]) * 3_000) for n in range(60, 67)]
    batches = [batch.rows for batch in in_batches(rows, LIMIT)]
    assert [len(batch) for batch in batches] == [2, 2, 2, 1]
    assert [message for batch in batches for message in batch] == rows
    assert in_batches([], LIMIT) == []


@pytest.mark.parametrize("byte", [b"x", b"'", b"\0", b"\xff"])
def test_bytes_count_as_base64(byte: bytes) -> None:
    assert len(in_batches([row(byte * 11_900)], LIMIT)) == 1
    with pytest.raises(TooLargeError) as caught:
        in_batches([row(), row(byte * 12_000)], LIMIT)
    assert caught.value.what == "messages[1]"
    assert 16_000 < caught.value.size < 20_000


def test_metadata_counts_as_it_is_sent() -> None:
    assert len(in_batches([row(a="x" * 12_000)], LIMIT)) == 1
    for text in ('"' * 5_000, "é" * 2_500, "\n" * 6_000):
        with pytest.raises(TooLargeError):
            in_batches([row(a=text)], LIMIT)
        with pytest.raises(TooLargeError, match="extra"):
            check_size({"a": text}, "extra", LIMIT)
    check_size({"a": "x" * 12_000}, "extra", LIMIT)
