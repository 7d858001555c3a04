"""Rows that somebody broke: named, never skipped, never taken for something else."""

from typing import Any

import msgpack
import pytest
from sqlalchemy import Connection, select, text

from tests.support.databases import on_connection
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.errors import CheckpointCorruptionError
from threadlog.messages import AssistantMessage, Message, ToolResultMessage, UserMessage
from threadlog.models import Thread
from threadlog.models.dialects.json import as_text

pytestmark = pytest.mark.every_way

WHOLE = UserFactory.build().model_dump(mode="json")

BROKEN: dict[str, dict[str, Any]] = {
    "truncated payload": {"payload": msgpack.packb(WHOLE)[:-3]},
    "empty payload": {"payload": b""},
    "payload of another kind": {"payload": msgpack.packb([1, 2])},
    "payload without a field": {"payload": msgpack.packb({"role": "user"})},
    "payload of another role": {"payload": msgpack.packb({**WHOLE, "role": "assistant"})},
    "unknown role": {"role": "system"},
    "metadata of another kind": {"metadata": "[1]"},
    "trailing bytes": {"payload": msgpack.packb(WHOLE) + b"\x01"},
}


async def change(url: str, columns: dict[str, Any], seq: int = 2) -> None:
    """Change columns of one message behind threadlog's back."""
    sets = ", ".join(f"{column} = :{column}" for column in columns)
    statement = text(f"UPDATE cubepi_messages SET {sets} WHERE thread_id = 't' AND seq = {seq}")

    def run(connection: Connection) -> None:
        connection.execute(statement, columns)

    await on_connection(url, run)


async def assert_names_the_row(checkpointer: Checkpointer) -> None:
    """Assert that each way of reading names table, thread and seq."""
    for reading in (checkpointer.load("t"), checkpointer.read("t"), checkpointer.load("t", last=2)):
        with pytest.raises(CheckpointCorruptionError, match=r"'t', seq 2") as caught:
            await reading
        error = caught.value
        assert (error.table, error.thread_id, error.seq) == ("cubepi_messages", "t", 2)
        assert error.__cause__ is not None
    stream = checkpointer.stream("t", batch_size=1)
    assert (await anext(stream)).seq == 1
    with pytest.raises(CheckpointCorruptionError):
        await anext(stream)


@pytest.mark.parametrize("columns", BROKEN.values(), ids=BROKEN)
async def test_a_broken_message_is_named(
    checkpointer: Checkpointer, database_url: str, columns: dict[str, Any]
) -> None:
    await checkpointer.append("t", UserFactory.build_batch(3))
    await change(database_url, columns)
    await assert_names_the_row(checkpointer)


async def test_metadata_that_is_no_json(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3))
        await change(sqlite_url, {"metadata": "{not json"})
        await assert_names_the_row(checkpointer)


@pytest.mark.parametrize("broken", ["[1]", "17", '"x"', "null"])
async def test_extra_that_is_no_object(
    checkpointer: Checkpointer, database_url: str, broken: str
) -> None:
    await checkpointer.append("t", [UserFactory()])
    statement = text("UPDATE cubepi_threads SET extra = :extra")
    await on_connection(database_url, lambda c: c.execute(statement, {"extra": broken}) and None)
    for verb in (checkpointer.load("t"), checkpointer.save_extra("t", {"a": 1})):
        with pytest.raises(CheckpointCorruptionError, match="cubepi_threads") as caught:
            await verb
        assert caught.value.seq is None
    # As text: psycopg and asyncpg decode JSON themselves.
    query = select(as_text(Thread.extra))
    stored = await on_connection(database_url, lambda c: str(c.execute(query).scalar()))
    assert stored == broken


async def test_edited_metadata_wins_over_the_payload(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """An application may edit the column with SQL."""
    await checkpointer.append("t", [UserFactory(metadata={"a": 1}) for _ in range(3)])
    await change(database_url, {"metadata": '{"edited": true}'})
    data = await checkpointer.load("t")
    assert data is not None
    assert [m.metadata for m in data.messages] == [{"a": 1}, {"edited": True}, {"a": 1}]


async def test_fields_of_a_newer_writer_are_kept(
    checkpointer: Checkpointer, database_url: str
) -> None:
    """Unknown fields load, and survive being written again; old rows get no id."""
    newer = {
        **WHOLE,
        "novelty": {"deep": [1]},
        "content": [{"type": "text", "text": "hi", "signature": "s"}],
    }
    older = {key: value for key, value in WHOLE.items() if key != "id"}
    await checkpointer.append("t", UserFactory.build_batch(3))
    await change(database_url, {"payload": msgpack.packb(newer)}, seq=1)
    await change(database_url, {"payload": msgpack.packb(older)}, seq=2)
    data = await checkpointer.load("t")
    assert data is not None
    assert data.messages[0].model_dump(mode="json") == newer
    assert data.messages[1].id == ""
    await checkpointer.append("copy", data.messages)
    copy = await checkpointer.load("copy")
    assert copy is not None
    assert copy.messages == data.messages


async def test_the_payload_is_the_format_of_the_schema(
    checkpointer: Checkpointer, database_url: str
) -> None:
    said: list[Message] = [
        UserMessage(content=[], metadata={"a": 1}, run_id="r"),
        AssistantMessage(content=[]),
        ToolResultMessage(tool_call_id="1", tool_name="x", content=[]),
    ]
    await checkpointer.append("t", said)
    sql = text("SELECT role, run_id, payload FROM cubepi_messages ORDER BY seq")
    rows = await on_connection(database_url, lambda c: c.execute(sql).all())
    assert [(row.role, row.run_id) for row in rows] == [
        ("user", "r"),
        ("assistant", None),
        ("tool", None),
    ]
    unpacked = [msgpack.unpackb(row.payload) for row in rows]
    assert [payload["role"] for payload in unpacked] == ["user", "assistant", "tool_result"]
    assert unpacked == [message.model_dump(mode="json") for message in said]
    assert rows[0].payload == msgpack.packb(said[0].model_dump(mode="json"), use_bin_type=True)
