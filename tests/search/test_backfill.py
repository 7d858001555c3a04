"""``threadlog index`` adds what is missing, beside writers and after it was broken off."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from tests.cli.helpers import as_process, threadlog
from tests.search.helpers import answer, assert_complete, question, stored
from tests.support.databases import execute, on_connection
from threadlog import Checkpointer
from threadlog.log import search_rows
from threadlog.models import SEARCH
from threadlog.models.tables import MESSAGES
from threadlog.models.tables import SEARCH as ROWS

THREADS = 7
LONG = 450
ALL = THREADS * 2 + LONG


async def fill(url: str) -> None:
    """Store threads, one of which is longer than a batch, and create the index."""
    async with Checkpointer(url) as log:
        for number in range(THREADS):
            await log.append(f"t{number}", [question(), answer()])
        await log.append("long", [question(f"number {n}") for n in range(LONG)])
    await execute(url, "UPDATE cubepi_messages SET created_at = '2026-01-02 03:04:05'")
    await on_connection(url, SEARCH.metadata.create_all)


async def index(url: str, *arguments: str) -> Any:
    """Run the command."""
    return await asyncio.to_thread(threadlog, "index", url, *arguments)


async def test_command_adds_all_and_then_nothing(database_url: str) -> None:
    await fill(database_url)
    done = await index(database_url)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{ALL:,} messages added.\n", "")
    await assert_complete(database_url, rows=ALL + THREADS)
    again = await index(database_url, "--json")
    assert json.loads(again.stdout) == {"messages": 0}

    def same_times(connection: Connection) -> int:
        keys = (MESSAGES.c.thread_id == ROWS.c.thread_id) & (MESSAGES.c.seq == ROWS.c.seq)
        same = select(func.count()).select_from(MESSAGES.join(ROWS, keys))
        found = same.where(MESSAGES.c.created_at == ROWS.c.created_at)
        return int(connection.scalar(found) or 0)

    assert await on_connection(database_url, same_times) == ALL + THREADS


async def test_broken_off_command_continues(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database_url)
    made, calls = search_rows.search_rows, []

    def break_off(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 300:
            raise KeyboardInterrupt
        return made(*arguments)

    monkeypatch.setattr(search_rows, "search_rows", break_off)
    broken = await asyncio.to_thread(threadlog, "index", database_url)
    assert (broken.exit_code, broken.stdout) == (130, "")
    assert "Interrupted. Run it again to continue." in broken.stderr
    assert len(await stored(database_url)) == 200
    done = await index(database_url)
    assert done.stdout == f"{ALL - 200:,} messages added.\n"
    await assert_complete(database_url, rows=ALL + THREADS)


async def test_command_is_safe_beside_writers_and_other_commands(database_url: str) -> None:
    await fill(database_url)
    async with Checkpointer(database_url) as log:

        async def write() -> None:
            for number in range(20):
                await log.append("long", [answer()])
                await log.append(f"new {number}", [question()])
            await log.delete_thread("t3")

        commands = (asyncio.to_thread(as_process, "index", database_url) for _ in range(2))
        *done, _ = await asyncio.gather(*commands, write())
    assert [each and each.returncode for each in done] == [0, 0], done
    await assert_complete(database_url, rows=ALL - 2 + THREADS - 1 + 40 + 20)


async def test_writers_that_opened_the_database_before_are_caught_up(database_url: str) -> None:
    async with Checkpointer(database_url) as log:
        await on_connection(database_url, SEARCH.metadata.create_all)
        await log.append("t", [question()])
        async with Checkpointer(database_url) as other:
            await other.append("t", [answer()])
    assert [row["seq"] for row in await stored(database_url)] == [2, 2]
    assert (await index(database_url)).stdout == "1 messages added.\n"
    await assert_complete(database_url, rows=3)


async def test_message_that_cannot_be_decoded_is_named(database_url: str) -> None:
    await fill(database_url)
    await execute(
        database_url,
        "UPDATE cubepi_messages SET payload = 'secret' WHERE thread_id = 't0' AND seq = 2",
    )
    failed = await index(database_url)
    assert failed.exit_code == 1
    assert "'t0'" in failed.stderr
    assert "secret" not in failed.stderr


async def test_database_without_the_index_is_refused(database_url: str) -> None:
    async with Checkpointer(database_url):
        pass
    failed = await index(database_url)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "threadlog migrate URL --part search" in failed.stderr
