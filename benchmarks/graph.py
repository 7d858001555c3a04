"""Measures the saver of graphs: reading the newest checkpoint, putting, and its pool.

Run it with: make bench, or alone with: python -m benchmarks.graph
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.base.id import uuid6
from rich.console import Console
from rich.table import Table

from benchmarks.distance import distance
from benchmarks.rounds import ROUNDS, medians_ms
from tests.graph.saver.making import config_for, metadata_of, put_chain
from tests.support.databases import create_schema, fresh_database, on_connection
from tests.support.servers.products import MYSQL
from tests.support.servers.server import running_server
from threadlog.langgraph import Saver
from threadlog.models import GRAPH

LENGTHS: Final = (10, 3_000)
POOLS: Final = (1, 4, 16)
WORKERS: Final = 16
PUTS: Final = 8
FAR_MS: Final = 2

_STATE: Final = "x" * 500

Figures = dict[str, float]


def newest_of(length: int) -> str:
    """Return the name of the row of reading the newest of that many checkpoints."""
    return f"read the newest of {length:,}, ms"


def pool_of(size: int) -> str:
    """Return the name of the row of writers that share that many connections."""
    return f"{WORKERS} workers, pool of {size}: puts/s"


def putting(saver: Saver, thread_id: str) -> Callable[[], Awaitable[object]]:
    """Return a function that puts the next checkpoint, of about 700 bytes, to a thread."""
    config, step = config_for(thread_id), 0

    async def put() -> None:
        nonlocal config, step
        step += 1
        versions = {"state": f"{step:032}"}
        checkpoint = Checkpoint(
            v=4,
            id=str(uuid6()),
            ts="2026-11-24T12:00:00+00:00",
            channel_values={"state": _STATE},
            channel_versions={**versions},
            versions_seen={},
            updated_channels=None,
        )
        config = await saver.aput(config, checkpoint, metadata_of(step), {**versions})

    return put


def putting_writes(saver: Saver, count: int) -> Callable[[], Awaitable[object]]:
    """Return a function that puts that many writes, of about 500 bytes each, of a next task."""
    config, task = config_for(f"writes {count}", "", "a checkpoint"), 0

    async def put() -> None:
        nonlocal task
        task += 1
        await saver.aput_writes(config, [("state", _STATE)] * count, f"task {task}")

    return put


async def measure(url: str) -> Figures:
    """Measure one database, whose tables are there."""
    async with Saver(url) as saver:
        for length in LENGTHS:
            await put_chain(saver, f"{length}", length)
        reading = {
            newest_of(length): lambda length=length: saver.aget_tuple(config_for(f"{length}"))
            for length in LENGTHS
        }
        writing = {
            "put, ms": putting(saver, "put"),
            "put_writes of 1 write, ms": putting_writes(saver, 1),
            "put_writes of 100 writes, ms": putting_writes(saver, 100),
        }
        found = await medians_ms(reading, 100)
        found |= await medians_ms(writing, 40)
    return found | await measure_pools(url)


async def measure_pools(url: str) -> Figures:
    """Measure writers on threads of their own that share connections, a pool after the other."""
    async with AsyncExitStack() as stack:
        works: dict[str, Callable[[], Awaitable[object]]] = {}
        for size in POOLS:
            saver = await stack.enter_async_context(Saver(url, max_pool_size=size))
            puts = [putting(saver, f"pool {size} {number}") for number in range(WORKERS)]

            async def work(puts: list[Callable[[], Awaitable[object]]] = puts) -> None:
                await asyncio.gather(*(_repeat(put) for put in puts))

            works[pool_of(size)] = work
        found = await medians_ms(works, 1)
    return {name: WORKERS * PUTS / ms * 1000 for name, ms in found.items()}


async def measure_far(url: str) -> Figures:
    """Measure the same writers on a server that is some milliseconds away."""
    async with distance(url, FAR_MS) as far:
        return await measure_pools(far)


async def _repeat(work: Callable[[], Awaitable[object]]) -> None:
    for _ in range(PUTS):
        await work()


def show(columns: Mapping[str, Figures]) -> None:
    """Print the figures of each database, and the ratios that matter."""
    table = Table("", *columns, title=f"graph state, medians of {ROUNDS} alternating rounds")
    for row in next(iter(columns.values())):
        table.add_row(
            row, *(f"{found[row]:.2f}" if row in found else "" for found in columns.values())
        )
    Console().print(table)
    short, long = map(newest_of, LENGTHS)
    for name, found in columns.items():
        if long in found:
            print(
                f"{name}: reading the newest of {LENGTHS[1]:,} checkpoints takes "
                f"{found[long] / found[short]:.2f} times what it takes of {LENGTHS[0]}"
            )
        for size in POOLS[1:]:
            ratio = found[pool_of(size)] / found[pool_of(POOLS[0])]
            print(f"{name}: a pool of {size} puts {ratio:.2f} times what one of {POOLS[0]} puts")


def main() -> None:
    """Measure both databases and print a table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(MYSQL, durable=True) as server,
        fresh_database(server.url) as mysql,
    ):
        asyncio.run(on_connection(mysql, partial(create_schema, part=GRAPH)))
        urls = {"SQLite": f"sqlite:///{folder}/bench.db", "MySQL": mysql}
        found = {name: asyncio.run(measure(url)) for name, url in urls.items()}
        found[f"MySQL, {FAR_MS} ms away"] = asyncio.run(measure_far(mysql))
        show(found)


if __name__ == "__main__":
    main()
