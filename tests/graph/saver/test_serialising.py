"""Tests of stored values: encrypted, read strictly, never pickled; and of unreadable ones."""

import os
import subprocess
import sys
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from tests.graph.saver.making import checkpoint_of, config_for, id_of, metadata_of
from tests.graph.ways import WAYS
from tests.support.databases import execute, on_connection
from threadlog.errors import CheckpointCorruptionError
from threadlog.langgraph import Saver

SECRET = "the secret of order 17"  # noqa: S105 - what must not be seen


async def dump(url: str) -> bytes:
    """Return all bytes of graphs in the database."""
    tables = ("checkpoints", "checkpoint_writes", "checkpoint_blobs")

    def work(connection: Any) -> bytes:
        rows = [
            connection.exec_driver_sql(f"SELECT * FROM threadlog_{table}").all() for table in tables
        ]
        cells = [cell for table in rows for row in table for cell in row]
        return b"|".join(c if isinstance(c, bytes) else str(c).encode() for c in cells)

    return await on_connection(url, work)


async def fill(saver: Any) -> Any:
    """Store a secret as a value and as a write."""
    config = await saver.aput(
        config_for("t"), checkpoint_of({"a": SECRET}), metadata_of(), {"a": "1"}
    )
    await saver.aput_writes(config, [("a", SECRET)], "task")
    return config


async def test_what_is_encrypted_stands_nowhere(way_name: str, graph_url: str) -> None:
    """Values, writes and checkpoints go through the serialiser that is given."""
    serde = EncryptedSerializer.from_pycryptodome_aes(key=b"0123456789abcdef")
    async with WAYS[way_name](graph_url, serde=serde) as opened:
        saver = opened.asynchronous_saver
        await fill(saver)
        found = await saver.aget_tuple(config_for("t"))
        assert found.checkpoint["channel_values"] == {"a": SECRET}
        assert found.pending_writes == [("task", "a", SECRET)]
    stored = await dump(graph_url)
    assert SECRET.encode() not in stored
    assert b"msgpack+aes" in stored
    async with Saver(graph_url) as saver:
        with pytest.raises(CheckpointCorruptionError, match="threadlog_checkpoints"):
            await saver.aget_tuple(config_for("t"))


async def test_without_encryption_the_test_above_would_see_it(graph_url: str) -> None:
    """The dump holds what is stored."""
    async with Saver(graph_url) as saver:
        await fill(saver)
    assert SECRET.encode() in await dump(graph_url)


async def test_nothing_is_pickled(saver: Saver, graph_url: str) -> None:
    assert isinstance(saver.serde, JsonPlusSerializer)
    assert not saver.serde.pickle_fallback
    await fill(saver)
    assert b"pickle" not in await dump(graph_url)


STRICT = """
import asyncio, sys
from dataclasses import dataclass
from threadlog.langgraph import Saver

@dataclass
class Order:
    number: int

async def main(url, step):
    from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
    async with Saver(url) as saver:
        if step == "put":
            checkpoint = checkpoint_of({"order": Order(17)})
            await saver.aput(config_for("t"), checkpoint, metadata_of(), {"order": "1"})
        found = await saver.aget_tuple(config_for("t"))
        print(type(found.checkpoint["channel_values"]["order"]).__name__)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.processes
def test_strict_msgpack_is_honoured(sqlite_url: str) -> None:
    """Under LANGGRAPH_STRICT_MSGPACK classes of the application are not revived."""
    found = {}
    for step, strict in (("put", "false"), ("get", "true")):
        ran = subprocess.run(
            [sys.executable, "-c", STRICT, sqlite_url, step],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"LANGGRAPH_STRICT_MSGPACK": strict},
        )
        found[strict] = ran.stdout.strip()
    assert found == {"false": "Order", "true": "dict"}


async def test_an_allowlist_makes_a_saver_on_the_same_connections(graph_url: str) -> None:
    before = Saver(graph_url).with_allowlist([("builtins", "object")])
    assert isinstance(before, BaseCheckpointSaver)
    serde = JsonPlusSerializer(allowed_msgpack_modules=None)
    original = Saver(graph_url, serde=serde)
    clone = original.with_allowlist([("decimal", "Decimal")])
    assert clone is not original
    async with original:
        await clone.aput(config_for("t"), checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
        assert await original.aget_tuple(config_for("t")) is not None


@pytest.mark.parametrize(
    ("table", "change", "key"),
    [
        ("threadlog_checkpoints", "checkpoint = X'c1'", "checkpoint"),
        ("threadlog_checkpoints", "type = 'unknown'", "checkpoint"),
        ("threadlog_checkpoint_blobs", "value = X'c1'", "blob"),
        ("threadlog_checkpoint_writes", "value = X'c1'", "write"),
    ],
)
async def test_a_corrupt_row_is_named_and_never_skipped(
    saver: Saver, graph_url: str, table: str, change: str, key: str
) -> None:
    config = await fill(saver)
    if graph_url.startswith("postgresql"):
        change = change.replace("X'c1'", r"'\xc1'")
    await execute(graph_url, f"UPDATE {table} SET {change}")
    with pytest.raises(CheckpointCorruptionError) as caught:
        await saver.aget_tuple(config)
    assert (caught.value.table, caught.value.thread_id) == (table, "t")
    assert caught.value.__cause__ is not None
    if key != "blob":
        assert id_of(config) in str(caught.value)
    with pytest.raises(CheckpointCorruptionError):
        _ = [found async for found in saver.alist(config_for("t"))]


async def test_a_run_id_is_stamped_from_wherever_the_config_has_it(any_saver: Any) -> None:
    """Checkpoints can be told apart by run on every database."""
    given: tuple[dict[str, Any], ...] = (
        {"metadata": {"run_id": "r"}},
        {"run_id": "r"},
        {"configurable": {"run_id": "r"}},
    )
    for number, more in enumerate(given):
        names = {**config_for(f"t{number}")["configurable"], **more.get("configurable", {})}
        config = {**more, "configurable": names}
        await any_saver.aput(config, checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
    assert len([one async for one in any_saver.alist(None, filter={"run_id": "r"})]) == 3
    await any_saver.adelete_for_runs(["r"])
    assert [one async for one in any_saver.alist(None)] == []
