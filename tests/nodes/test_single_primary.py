"""A group of which one member takes writes, and what writers see when that one dies."""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.conftest import DATABASE, url_of
from tests.nodes.writers import Findings, Record, Writer, examine
from tests.support.factories import UserFactory
from tests.support.servers.group import Node, ask, catch_up
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import CommitOutcomeUnknownError, NotWritableError

WRITERS = 8
THREADS = ("t0", "t1", "t2", "t3")

# How long the group may take to elect: what is longer is a failure, not a measurement.
_PATIENCE_SECONDS = 120


async def test_a_killed_primary_loses_and_doubles_nothing(
    single_primary: list[Node], seed: int
) -> None:
    print(f"\nseed {seed}")
    record, stop = Record(), threading.Event()
    writers = [
        Writer(f"w{n}", THREADS[n % len(THREADS)], seed, record, stop) for n in range(WRITERS)
    ]
    url = url_of(single_primary)
    async with Checkpointer(url) as checkpointer:
        work = asyncio.gather(*_started(writers, checkpointer, url))
        killed = await _kill_primary(single_primary, random.Random(seed), record)
        elected = await asyncio.to_thread(_until_elected, single_primary)
        await _until_served_again(record, elected)
        stop.set()
        await work
        found = await examine(checkpointer, THREADS, record)
    _print(found, record, killed, elected)
    assert found.clean, found
    assert all(isinstance(error, CommitOutcomeUnknownError) for _, error in record.failed)
    await _assert_same_everywhere(single_primary)


def _started(
    writers: list[Writer], checkpointer: Checkpointer, url: str
) -> list[Coroutine[Any, Any, None]]:
    """Return the work of all writers, half of them asynchronous."""
    half = len(writers) // 2
    return [
        *(writer.run(checkpointer) for writer in writers[:half]),
        asyncio.to_thread(_run_sync, writers[half:], url),
    ]


def _run_sync(writers: list[Writer], url: str) -> None:
    with SyncCheckpointer(url) as checkpointer, ThreadPoolExecutor(len(writers)) as pool:
        for done in [pool.submit(writer.run_sync, checkpointer) for writer in writers]:
            done.result()


async def _kill_primary(nodes: list[Node], chance: random.Random, record: Record) -> float:
    """Kill the member that takes writes, at a random moment, and give the time."""
    await _until(lambda: len(record.times) >= 200)
    await asyncio.sleep(chance.random())
    primary = next(node for node in nodes if ask(node.url, "SELECT @@read_only") == [(0,)])
    os.kill(primary.pid, signal.SIGKILL)
    return time.monotonic()


def _until_elected(nodes: list[Node]) -> float:
    """Wait until another member takes writes, and give the time."""
    left = [node for node in nodes if _runs(node.pid)]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while all(ask(node.url, "SELECT @@read_only") == [(1,)] for node in left):
        assert time.monotonic() < deadline, "no primary was elected"
        time.sleep(0.1)
    return time.monotonic()


async def _until_served_again(record: Record, elected: float) -> None:
    """Wait until writers are told of many more appends than could have been on their way."""
    margin = elected + 1
    await _until(lambda: sum(moment > margin for moment in record.times) >= 200)


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not happened():  # noqa: ASYNC110 - threads and servers set no event of ours
            await asyncio.sleep(0.05)


def _print(found: Findings, record: Record, killed: float, elected: float) -> None:
    kinds = Counter(type(error).__name__ for _, error in record.failed)
    print(
        f"single-primary, primary killed under {WRITERS} writers: {found}, "
        f"{record.longest_gap(killed):.1f} s without service "
        f"(the group had a new primary after {elected - killed:.1f} s), "
        f"errors raised: {dict(kinds)}"
    )


async def _assert_same_everywhere(nodes: list[Node]) -> None:
    """Check that the members that are left hold the same rows, once they have caught up.

    And that one that is read-only can be read from, by a URL of its own, and is not written to.
    """
    query = f"SELECT COUNT(*), SUM(CRC32(payload)) FROM {DATABASE}.cubepi_messages"
    left = [node for node in nodes if _runs(node.pid)]
    assert len(left) == len(nodes) - 1
    catch_up(sorted(left, key=lambda node: ask(node.url, "SELECT @@read_only")))  # primary first
    assert len({str(ask(node.url, query)) for node in left}) == 1
    secondary = next(node for node in left if ask(node.url, "SELECT @@read_only") == [(1,)])
    async with Checkpointer(url_of([secondary])) as replica:
        assert await replica.read(THREADS[0], limit=1)
        with pytest.raises(NotWritableError):
            await replica.append(THREADS[0], [UserFactory()])


def _runs(pid: int) -> bool:
    """Return True if a process runs; False for an ended one that is not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False
