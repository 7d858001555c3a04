"""Measures appending, loading, the memory of streaming, and graphs, on SQLite and MySQL.

Run it with: make bench
"""

import asyncio
import tempfile
import tracemalloc
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from benchmarks import graph
from benchmarks.rounds import ROUNDS, median_ms
from tests.databases import create_schema, fresh_mysql_database, on_connection
from tests.graphs.databases import create_graph_schema
from tests.servers.mysql import mysql_server
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage

APPENDS = 100
LENGTHS = (1_000, 10_000, 100_000)


def message() -> UserMessage:
    """Make a message of about 700 bytes."""
    return UserMessage(content=[TextContent(text="x" * 500)], metadata={"user": "u1"})


async def fill(checkpointer: Checkpointer, thread_id: str, count: int) -> None:
    """Make a thread of so many messages."""
    for _ in range(0, count, 1_000):
        await checkpointer.append(thread_id, [message() for _ in range(1_000)])


async def peak_mb(checkpointer: Checkpointer, thread_id: str) -> float:
    """Give the most memory that Python holds while it streams a thread, in MB."""
    tracemalloc.start()
    async for _ in checkpointer.stream(thread_id):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


async def measure(url: str) -> dict[str, float]:
    """Measure one database."""
    found: dict[str, float] = {}
    async with Checkpointer(url) as checkpointer:
        found["append 1 message, ms"] = await median_ms(
            lambda: checkpointer.append("t", [message()]), APPENDS
        )
        found["append 16 at once, ms each"] = (
            await median_ms(
                lambda: asyncio.gather(
                    *(checkpointer.append(f"t{n}", [message()]) for n in range(16))
                ),
                10,
            )
            / 16
        )
        await checkpointer.append("60", [message() for _ in range(60)])
        found["load 60 messages, ms"] = await median_ms(lambda: checkpointer.load("60"), 20)
        for length in LENGTHS:
            await fill(checkpointer, f"{length}", length)
        found["load the last 50 of 1,000, ms"] = await median_ms(
            lambda: checkpointer.load("1000", last=50), 20
        )
        found["load the last 50 of 100,000, ms"] = await median_ms(
            lambda: checkpointer.load("100000", last=50), 20
        )
        for length in LENGTHS:
            found[f"stream {length:,}: peak MB"] = await peak_mb(checkpointer, f"{length}")
    return found


def main() -> None:
    """Measure both databases and print tables."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mysql_server(durable=True) as server,
        fresh_mysql_database(server.url) as mysql,
    ):
        asyncio.run(on_connection(mysql, create_schema))
        asyncio.run(on_connection(mysql, create_graph_schema))
        urls = {"SQLite": f"sqlite:///{folder}/bench.db", "MySQL": mysql}
        show({name: asyncio.run(measure(url)) for name, url in urls.items()})
        graphs = {name: asyncio.run(graph.measure(url)) for name, url in urls.items()}
        graphs[f"MySQL, {graph.FAR_MS} ms away"] = asyncio.run(graph.measure_far(mysql))
        graph.show(graphs)


def show(columns: Mapping[str, dict[str, float]]) -> None:
    """Print the figures of each database."""
    table = Table("", *columns, title=f"medians of {ROUNDS} rounds")
    for name in columns["SQLite"]:
        table.add_row(name, *(f"{found[name]:.2f}" for found in columns.values()))
    Console().print(table)
    for name, found in columns.items():
        ratio = found["stream 100,000: peak MB"] / found["stream 1,000: peak MB"]
        print(f"{name}: streaming 100,000 messages takes {ratio:.2f} times the memory of 1,000")


if __name__ == "__main__":
    main()
