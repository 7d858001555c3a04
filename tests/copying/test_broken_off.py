"""Copies that are broken off at any point, and run again: nothing is lost, nothing is doubled."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from itertools import count
from typing import Final

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.cli.helpers import HEEDS_CTRL_C
from tests.support.commits import lost_commits
from tests.support.databases import on_connection
from tests.support.ends import Ends, Rows, fill, rows_of, said, say, source_rows
from tests.support.processes import PythonProcess
from tests.support.seeds import FRESH
from threadlog import Checkpointer
from threadlog.copying import paging
from threadlog.copying.copy import Copied, Fault, copy_database

_LONG: Final = 2_500
_KILLS: Final = 2


def start(ends: Ends) -> PythonProcess:
    """Start a copy in a process of its own, which heeds Ctrl-C wherever the tests run."""
    return PythonProcess("-c", HEEDS_CTRL_C, "copy", *ends, "--json")


async def messages_in(url: str) -> int:
    """Count the messages of a database."""

    def count(connection: Connection) -> int:
        return int(connection.scalar(text("SELECT COUNT(*) FROM cubepi_messages")) or 0)

    return await on_connection(url, count)


async def progress(process: PythonProcess, url: str, goal: int) -> None:
    """Wait until a copy has brought so many messages, or is done."""
    while process.poll() is None and await messages_in(url) <= goal:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)


async def fill_more(url: str) -> None:
    """Fill a database with short threads, and one that is copied in several pages."""
    await fill(url)
    async with Checkpointer(url) as source:
        for number in range(60):
            await source.append(f"t{number}", said(*map(str, range(10))))
        await source.append("long", said(*map(str, range(_LONG))))


def assert_is_beginning(part: Rows, whole: Rows) -> None:
    """Assert that the rows are those of the whole, without a gap in a thread's messages."""
    for table, rows in part.items():
        assert rows.items() <= whole[table].items() if table != "cubepi_messages" else True
        assert {key: whole[table][key] for key in rows} == rows
    counts: dict[str, int] = {}
    for thread_id, seq in sorted(part["cubepi_messages"]):
        counts[thread_id] = counts.get(thread_id, 0) + 1
        assert seq == counts[thread_id]
    # A short thread is there as a whole; the long one may end after any page.
    for thread_id, length in counts.items():
        if thread_id != "long":
            assert (thread_id, length + 1) not in whole["cubepi_messages"]


@pytest.mark.processes
async def test_a_copy_that_is_killed_again_and_again_is_completed(ends: Ends) -> None:
    chance = random.Random(FRESH)
    print(f"THREADLOG_SEED={FRESH}")
    await fill_more(ends.source)
    whole = await source_rows(ends)
    async with Checkpointer(ends.target):
        pass  # the file has its tables before anybody looks at it
    killed = 0
    for _ in range(_KILLS):
        there = await messages_in(ends.target)
        goal = there + chance.randint(0, (await messages_in(ends.source) - there) // 2)
        with start(ends) as process:
            await progress(process, ends.target, goal)
            await asyncio.sleep(chance.random() / 20)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert_is_beginning(await rows_of(ends.target), whole)
    assert killed
    with start(ends) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output)["same"] is True
    assert await rows_of(ends.target) == whole
    assert await source_rows(ends) == whole


@pytest.mark.processes
async def test_an_interrupted_copy_says_how_to_go_on(
    mysql_url: str, second_sqlite_url: str
) -> None:
    ends = Ends(mysql_url, second_sqlite_url)
    await fill_more(ends.source)
    async with Checkpointer(ends.target):
        pass
    with start(ends) as process:
        await progress(process, ends.target, 100)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert (process.returncode, output) == (130, "")
    assert errors == "Error: Interrupted. Run it again to continue.\n"
    whole = await source_rows(ends)
    assert_is_beginning(await rows_of(ends.target), whole)
    await copy_database(*ends)
    assert await rows_of(ends.target) == whole


async def test_a_cancelled_copy_ends_behind_a_transaction(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 5)
    await say(ends.source, "t", *map(str, range(200)))
    seen = asyncio.Event()
    task = asyncio.create_task(copy_database(*ends, report=lambda copied, fault: seen.set()))
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await copy_database(*ends)
    assert await rows_of(ends.target) == await source_rows(ends)


@pytest.fixture
async def other(mysql_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = create_async_engine(
        mysql_url.replace("mysql://", "mysql+asyncmy://"), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.mark.parametrize("arrives", [True, False], ids=["done", "not done"])
async def test_a_lost_commit_is_no_loss(
    sqlite_url: str,
    second_mysql_url: str,
    other: AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A transaction whose COMMIT got no answer is looked for, and not doubled."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 10)
    ends = Ends(sqlite_url, second_mysql_url)
    await say(ends.source, "t", *map(str, range(95)))
    with ExitStack() as stack:
        killed: list[list[int]] = []

        def report(copied: Copied, fault: Fault | None) -> None:
            if not killed:  # behind the first page
                losing = lost_commits(Engine, other, arrives=arrives, times=3)  # type: ignore[arg-type]  # of all engines
                killed.append(stack.enter_context(losing))

        (group,) = await copy_database(*ends, report=report)
    assert len(killed[0]) == 3
    assert (group.copied, group.faults) == (1, [])
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_connections_that_are_lost_are_made_again(
    mysql_url: str,
    second_mysql_url: str,
    other: AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ends may lose theirs between any two pages."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 10)
    ends = Ends(mysql_url, second_mysql_url)
    await fill(ends.source)
    await say(ends.source, "t", *map(str, range(60)))
    kills = 0
    one_at_a_time = asyncio.Lock()
    in_use: dict[str, int] = {}

    def note(connection: Connection) -> None:
        database = str(connection.engine.url.database)
        in_use[database] = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()

    async def kill() -> None:
        nonlocal kills
        async with one_at_a_time:
            for number in list(in_use.values()):
                with suppress(OperationalError):  # it has ended already
                    await other.execute(text(f"KILL {number}"))
                    kills += 1

    def report(copied: Copied, fault: Fault | None) -> None:
        assert fault is None
        if next(reports) in {1, 4, 7, 9, 12}:
            pending.append(asyncio.get_running_loop().create_task(kill()))

    reports = count(1)
    pending: list[asyncio.Task[None]] = []
    await other.scalar(text("SELECT 1"))  # its own transaction is begun, and not noted
    event.listen(Engine, "begin", note)
    try:
        (group,) = await copy_database(*ends, report=report)
        await asyncio.gather(*pending)
    finally:
        event.remove(Engine, "begin", note)
    assert kills > 3
    assert (group.copied, group.faults) == (7, [])
    assert await rows_of(ends.target) == await source_rows(ends)
