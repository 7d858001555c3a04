"""Exports by the checkpointers: what is in them, at which point in time, and in how much memory."""

import asyncio
import gc
import json
import os
import pty
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from tests.cli.helpers import threadlog
from tests.exporting.helpers import export, run_graph
from tests.support.databases import execute
from tests.support.ends import fill, said, say
from tests.support.processes import run_python
from tests.support.ways import WAYS
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.copying import paging
from threadlog.errors import DeadlockError, InvalidInputError, ThreadNotFoundError
from threadlog.exporting import export as exporting
from threadlog.exporting.rows import to_object
from threadlog.importing import parse_conversation
from threadlog.langgraph import Saver, Store
from threadlog.repositories.transfer import RawRow


async def read(lines: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """Return the lines of an export."""
    return [json.loads(line) async for line in lines]


def ids(lines: list[dict[str, Any]]) -> list[str]:
    """Return the threads of an export."""
    return [line["thread_id"] for line in lines if line["type"] == "thread"]


@pytest.mark.parametrize("way", ["own", "engine", "factory", "sync"])
async def test_lines_of_a_thread_are_of_one_point_in_time(
    database_url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is appended between two pages is not in the lines."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    await say(database_url, "t", *"abcdefgh")
    appended = 0

    def interrupt(table: Table, row: RawRow) -> dict[str, Any]:
        nonlocal appended
        if table.name == "cubepi_messages" and row["seq"] in {1, 4}:
            appended += 1
            with SyncCheckpointer(database_url) as writer:
                writer.append("t", said("more"))
                writer.claim_run("t", f"r{appended}")
        return to_object(table, row)

    monkeypatch.setattr(exporting, "to_object", interrupt)
    async with WAYS[way](database_url) as checkpointer:
        lines = await read(checkpointer.export())
        assert appended == 2
        assert [line["seq"] for line in lines if line["type"] == "message"] == list(range(1, 9))
        assert [line for line in lines if line["type"] == "run"] == []
        lines = await read(checkpointer.export())
    assert [line["seq"] for line in lines if line["type"] == "message"][:10] == list(range(1, 11))


async def test_thread_that_is_read_again_after_a_deadlock_has_each_line_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(sqlite_url, "t", *"abc")
    attempts = 0

    def fail_once(table: Table, row: RawRow) -> dict[str, Any]:
        nonlocal attempts
        if row.get("seq") == 2:
            attempts += 1
            if attempts == 1:
                raise DeadlockError("the first attempt")
        return to_object(table, row)

    monkeypatch.setattr(exporting, "to_object", fail_once)
    async with Checkpointer(sqlite_url) as checkpointer:
        lines = await read(checkpointer.export())
    assert attempts == 2
    types = ["threadlog_export", "thread", *["message"] * 3, "end"]
    assert [line["type"] for line in lines] == types
    assert lines[-1]["lines"] == 5


async def test_lines_stay_readable_while_the_database_is_written_to(database_url: str) -> None:
    """Between two threads no connection is held: one is enough for both."""
    for thread_id in "abc":
        await say(database_url, thread_id, "a")
    seen = []
    async with Checkpointer(database_url, max_pool_size=1) as checkpointer:
        async for line in checkpointer.export():
            seen.append(json.loads(line))
            await checkpointer.append("new", said("more"))
    assert ids(seen)[:3] == ["a", "b", "c"]
    assert seen[-1]["type"] == "end"


async def test_memory_is_that_of_a_page_not_of_the_thread(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the export, and in the import of its file."""
    monkeypatch.setattr(paging, "PAGE_BYTES", 50_000)
    monkeypatch.setattr(exporting, "_SPOOL_BYTES", 50_000)
    monkeypatch.setattr("threadlog.importing.stage_export._BYTES", 50_000)
    await say(sqlite_url, "t", *(f"{number}" * 10_000 for number in range(10, 410)))
    size, file = 0, tmp_path / "a.jsonl"
    async with Checkpointer(sqlite_url) as checkpointer:
        await read(checkpointer.export(threads=["t"], format="openai_chat"))  # imports
        with _memory() as used, file.open("wb") as output:
            async for line in checkpointer.export():
                size += output.write(line)
    assert size > 8_000_000
    assert used[0] < size / 5
    await asyncio.to_thread(_import_within, file, f"sqlite:///{tmp_path}/target.db", size // 5)


def _import_within(file: Path, url: str, limit: int) -> None:
    with _memory() as used:
        assert threadlog("import", str(file), "--url", url).exit_code == 0
    assert used[0] < limit


@contextmanager
def _memory() -> Iterator[list[int]]:
    """Yield a list that gets the most bytes in use; garbage is collected as in an application."""
    usual, used = gc.get_threshold(), list[int]()
    gc.set_threshold(700, 10, 10)
    tracemalloc.start()
    try:
        yield used
        used.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
        gc.set_threshold(*usual)


async def test_export_of_an_owner_has_only_the_owners_threads(
    whole_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_THREADS_AT_ONCE", 2)
    async with Checkpointer(whole_url) as checkpointer:
        for place, thread_id in enumerate("abcdef"):
            owner = "ann" if place % 2 else "bob"
            await checkpointer.append(thread_id, said(owner), owner=owner)
        await checkpointer.append("nobody's", said("x"))
        scoped = checkpointer.scoped("ann")
        for lines in (
            await read(checkpointer.export(owner="ann")),
            await read(scoped.export()),
            await read(scoped.export(owner="ann")),
        ):
            assert ids(lines) == ["b", "d", "f"]
            assert lines[-1] == {"type": "end", "threads": 3, "memories": 0, "lines": 10}
            assert {line.get("owner", "ann") for line in lines} == {"ann"}
        assert ids(await read(scoped.export(threads=["d"]))) == ["d"]
        for thread_id in ("a", "nobody's", "unknown"):
            for exported in (
                scoped.export(threads=[thread_id]),
                checkpointer.export(threads=[thread_id], owner="ann"),
                scoped.export(threads=[thread_id], format="openai_chat"),
            ):
                with pytest.raises(ThreadNotFoundError):
                    await read(exported)
        with pytest.raises(InvalidInputError, match="scoped to 'ann'"):
            await read(scoped.export(owner="bob"))
        with pytest.raises(InvalidInputError, match="Memories have no owner"):
            await read(scoped.export(memories=[("users",)]))
        assert len(ids(await read(checkpointer.export()))) == 7


async def test_memories_are_those_below_the_namespaces(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_ITEMS_AT_ONCE", 2)
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    async with Store(store_url) as store:
        await store.setup()
        for namespace in (("users", "ann"), ("users", "ann", "x"), ("users", "anna"), ("other",)):
            for number in range(3):
                await store.aput(namespace, f"k{number}", {"n": number})
        await store.aput(("users", "ann"), "old", {}, ttl=0.0001)
    await execute(
        store_url,
        "UPDATE threadlog_store SET expires_at = '2019-03-31 02:30:07' WHERE item_key = 'old'"
        if not store_url.startswith("sqlite")
        else "UPDATE threadlog_store SET expires_at = '2019-03-31T02:30:07.000000+00:00' "
        "WHERE item_key = 'old'",
    )
    names = {"users.ann.", "users.ann.x."}
    lines = await asyncio.to_thread(_memories, store_url, "--memories", "users.ann")
    assert {line["namespace"] for line in lines} == names
    assert len(lines) == 6
    assert len(await asyncio.to_thread(_memories, store_url)) == 12
    two = ("--memories", "other", "--memories", "users.anna")
    assert len(await asyncio.to_thread(_memories, store_url, *two)) == 6
    # An item that is below both of two namespaces is exported once.
    both = ("--memories", "users.ann", "--memories", "users", "--memories", "users")
    assert len(await asyncio.to_thread(_memories, store_url, *both)) == 9


def _memories(url: str, *options: str) -> list[dict[str, Any]]:
    result = threadlog("export", url, *options)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [line for line in lines if line["type"] == "memory"]


@pytest.mark.parametrize("memories", ["users", [["a.b"]], [[""]], [[1]], [["a\ud800"]]])
async def test_namespaces_that_the_store_cannot_have_are_refused(
    sqlite_url: str, memories: Any
) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        with pytest.raises(InvalidInputError, match="memories"):
            await read(checkpointer.export(memories=memories))


async def test_threads_of_any_part_are_exported_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_THREADS_AT_ONCE", 2)
    await fill(sqlite_url)
    for thread_id in ("m", "only a graph", "another"):
        await run_graph(sqlite_url, thread_id)
    async with Checkpointer(sqlite_url) as checkpointer:
        lines = await read(checkpointer.export())
    keys = [json.dumps(line) for line in lines]
    assert len(keys) == len(set(keys))
    assert lines[-1]["threads"] == 8
    assert {line["thread_id"] for line in lines if line["type"] == "checkpoint"} == {
        "m",
        "only a graph",
        "another",
    }


def test_database_with_a_graph_only_is_exported(sqlite_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with Saver(sqlite_url) as saver:
            await saver.setup()
        await run_graph(sqlite_url, "g")

    asyncio.run(run())
    lines = export(sqlite_url, tmp_path / "a.jsonl")
    assert lines[0]["parts"] == ["graph"]
    assert {line.get("thread_id", "g") for line in lines} == {"g"}


@pytest.mark.parametrize(
    "name", ["openai_chat", "openai_responses", "anthropic", "sharegpt", "langchain"]
)
def test_conversations_of_other_formats_are_imported_as_they_were(
    sqlite_url: str, tmp_path: Path, name: Any
) -> None:
    """One in each line; what the format has no place for is lost, as in `threadlog.formats`."""
    asyncio.run(fill(sqlite_url))
    (line,) = export(sqlite_url, tmp_path / "a.jsonl", "--thread", "M", "--format", name)
    assert (line["thread_id"], line["extra"]["a"]) == ("M", {"n": [2**63, 1.0, 1]})
    conversation = parse_conversation(line, "unused", format_name=name)
    with SyncCheckpointer(sqlite_url) as checkpointer:
        data = checkpointer.load("M")
    assert data is not None
    assert conversation.extra == data.extra
    assert {m.role for m in conversation.messages} == {m.role for m in data.messages}
    lines = export(sqlite_url, tmp_path / "b.jsonl", "--format", name)
    assert len(lines) == 6


def test_unknown_thread_ends_the_command_with_its_name(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(say(sqlite_url, "t", "a"))
    output = tmp_path / "a.jsonl"
    result = threadlog("export", sqlite_url, "--thread", "none", "--output", str(output))
    assert result.exit_code == 1
    assert result.stderr == "Error: There is no thread 'none'. Check the id and the database.\n"
    # The file has no last line, so that nothing imports it.
    assert json.loads(output.read_text(encoding="utf-8"))["type"] == "threadlog_export"


def test_command_prints_lines_and_a_summary(sqlite_url: str) -> None:
    asyncio.run(say(sqlite_url, "t", "a\x1b[31mü"))
    result = threadlog("export", sqlite_url)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["threadlog_export", "thread", "message", "end"]
    size = len(result.stdout.encode())
    assert result.stderr == f"1 threads: 4 lines, {size:,} bytes.\n"


@pytest.mark.processes
def test_control_characters_are_escaped_on_a_terminal(sqlite_url: str) -> None:
    asyncio.run(say(sqlite_url, "t", "ü\x1b[31m\x9b31m\u202e"))
    ours, theirs = pty.openpty()
    done = run_python("-m", "threadlog", "export", sqlite_url, stdout=theirs)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "ü\\u001b[31m\\u009b31m\\u202e" in shown
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)


def test_file_that_cannot_be_written_ends_the_command(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(say(sqlite_url, "t", "a"))
    result = threadlog("export", sqlite_url, "--output", str(tmp_path / "none" / "a.jsonl"))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_export_of_no_database_creates_none(tmp_path: Path) -> None:
    result = threadlog("export", f"sqlite:///{tmp_path}/none.db")
    assert result.exit_code == 1
    assert "There is no file" in result.stderr
    assert list(tmp_path.iterdir()) == []
