"""Rows as JSON, and back: nothing is lost, whatever the row contains."""

import json
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log.test_roundtrip import json_values, messages
from tests.support.matrix import rounds
from threadlog.encoding.json_equal import json_equal
from threadlog.exporting.rows import to_object, to_row
from threadlog.log.message_codec import MESSAGE_CODEC
from threadlog.messages import Message
from threadlog.models import tables

TIME = datetime(2019, 3, 31, 2, 30, 7, 123456, tzinfo=UTC)


def through_json(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line after it was written and read."""
    parsed: dict[str, Any] = json.loads(json.dumps(line, allow_nan=False))
    return parsed


def message_row(payload: bytes, metadata: str = "{}") -> dict[str, Any]:
    """Return a row of a message."""
    return {
        "thread_id": "t",
        "seq": 1,
        "role": "user",
        "metadata": metadata,
        "payload": payload,
        "run_id": None,
        "created_at": TIME,
    }


def assert_comes_back(payload: bytes, metadata: str = "{}") -> dict[str, Any]:
    """Assert that a row of a message comes back equal; return its line."""
    line = through_json(to_object(tables.MESSAGES, message_row(payload, metadata)))
    table, row = to_row(line)
    assert table is tables.MESSAGES
    assert row["payload"] == payload
    assert row["metadata"] == metadata or json_equal(row["metadata"], metadata)
    assert datetime.fromisoformat(row["created_at"]) == TIME
    return line


@settings(max_examples=rounds(100), deadline=None)
@given(message=messages)
def test_messages_come_back_to_the_byte_and_are_readable(message: Message) -> None:
    (row,) = MESSAGE_CODEC.encode([message])
    line = assert_comes_back(row.payload)
    assert line["message"] == message.model_dump(mode="json")
    assert "payload_base64" not in line


@given(payload=st.binary())
def test_any_bytes_come_back(payload: bytes) -> None:
    assert_comes_back(payload)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": float("inf")},
        {"a": b"bytes"},
        {1: "number as a key"},
        msgpack.Timestamp(1),
        msgpack.ExtType(5, b"x"),
        [1, 2],
        "text",
        None,
        7,
    ],
)
def test_values_that_are_no_message_come_back(value: Any) -> None:
    assert_comes_back(msgpack.packb(value))


def test_message_that_is_packed_in_another_way_is_readable_too() -> None:
    payload = b"\x81\xa1a\xd9\x01b"  # a text of one byte with a length of its own
    line = assert_comes_back(payload)
    assert line["message"] == {"a": "b"}
    assert "payload_base64" in line


@settings(max_examples=rounds(100), deadline=None)
@given(value=json_values)
def test_json_comes_back(value: Any) -> None:
    assert_comes_back(b"x", json.dumps(value))


@pytest.mark.parametrize(
    "text",
    ["{", "NaN", '{"a": Infinity}', '{"a": 1e999}', '{"a": 1, "a": 2}', "1" * 5_000, '"\\ud800"'],
)
def test_text_that_is_no_json_comes_back(text: str) -> None:
    assert_comes_back(b"x", text)


@pytest.mark.parametrize("request_text", [None, "null", '{"a": 1}'])
def test_null_of_sql_is_not_null_of_json(request_text: str | None) -> None:
    row = {
        "thread_id": "t",
        "parent_thread_id": None,
        "forked_at_seq": None,
        "extra": "null",
        "pending_request": request_text,
        "run_id": None,
        "created_at": TIME,
        "updated_at": TIME,
    }
    _, back = to_row(through_json(to_object(tables.THREADS, row)))
    assert back["pending_request"] == request_text
    assert back["extra"] == "null"
