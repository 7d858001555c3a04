"""A thread of 2,000 checkpoints of 300 KB each: nothing about reading it grows with it.

Each step changes one of ten channels, as a step of a graph does: 300 KB are read with each
checkpoint, and 30 KB are stored. With all of it changed by each step the test takes
minutes, and less memory than this limit (24 MB on both databases). All that is stored is 60 MB,
and 600 MB when decoded: whoever kept either would exceed it.
"""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph.checkpoint.base.id import uuid6
from sqlalchemy import make_url

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
from threadlog.langgraph import Saver

LENGTH: Final = 2_000
CHANNELS: Final = 10
SIZE: Final = 30_000
MOST_MB: Final = 60
WRITERS: Final = 8


def state(step: int) -> dict[str, str]:
    """Return a state of 300 KB; each channel's value has the step that wrote it."""
    return {channel: f"{written:08}" * (SIZE // 8) for channel, written in writers(step).items()}


def writers(step: int) -> dict[str, int]:
    """Return the last step that wrote each channel."""
    return {
        f"channel {number}": step - (step - number) % CHANNELS
        for number in range(min(CHANNELS, step + 1))
    }


async def fill(saver: Saver) -> list[str]:
    """Write the thread; return its ids, oldest first."""
    ids = [str(uuid6(clock_seq=step % 1_000)) for step in range(LENGTH)]
    steps = iter(range(LENGTH))

    async def put() -> None:
        for step in steps:
            parent = config_for("long", "", ids[step - 1] if step else None)
            versions = {name: f"{written:032}" for name, written in writers(step).items()}
            checkpoint = checkpoint_of(state(step), versions, ids[step])
            written = f"channel {step % CHANNELS}"
            new: dict[str, Any] = {written: versions[written]}
            await saver.aput(parent, checkpoint, metadata_of(step, run_id=f"r{step // 100}"), new)

    await asyncio.gather(*(put() for _ in range(WRITERS)))
    return ids


@pytest.fixture
async def long_thread(graph_url: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Yield the URL of a database with the thread, and its ids; delete it afterwards."""
    start = time.perf_counter()
    async with Saver(graph_url) as saver:
        await saver.setup()
        ids = await fill(saver)
    print(f"{LENGTH} checkpoints put in {time.perf_counter() - start:.1f} s")
    yield graph_url, ids
    if graph_url.startswith("sqlite"):  # pytest keeps folders of tests for a while
        _remove(graph_url)


def _remove(url: str) -> None:
    Path(str(make_url(url).database)).unlink()


async def test_a_long_thread_is_read_in_constant_memory(
    long_thread: tuple[str, list[str]],
) -> None:
    url, ids = long_thread
    async with Saver(url) as saver:
        tracemalloc.start()
        start, count = time.perf_counter(), 0
        async for found in saver.alist(config_for("long")):
            count += 1
            assert found.checkpoint["id"] == ids[-count]
            values = found.checkpoint["channel_values"]
            written = {name: int(value[-8:]) for name, value in values.items()}
            assert written == writers(LENGTH - count)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"listed in {time.perf_counter() - start:.1f} s, at most {peak:.0f} MB")
        assert count == LENGTH
        assert peak < MOST_MB
        newest = await saver.aget_tuple(config_for("long"))
        assert newest is not None
        assert newest.checkpoint["channel_values"] == state(LENGTH - 1)
        for place in (LENGTH - 1, LENGTH // 2, 20, 1):
            options: Any = {"before": config_for("long", "", ids[place]), "limit": 5}
            page = [one async for one in saver.alist(config_for("long"), **options)]
            assert [one.checkpoint["id"] for one in page] == ids[max(place - 5, 0) : place][::-1]
        run: Any = {"filter": {"run_id": "r3"}, "limit": 7}
        found_of_run = [one async for one in saver.alist(config_for("long"), **run)]
        assert [one.checkpoint["id"] for one in found_of_run] == ids[393:400][::-1]
