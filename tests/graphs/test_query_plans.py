"""How MySQL and MariaDB find what is read: by primary keys, among the rows of 200 other threads."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Connection, event

from tests.databases import INNODB, fresh_database, on_connection
from tests.graph_saver.making import config_for, put_chain
from tests.graphs.databases import create_graph_schema
from tests.graphs.histories import config_of
from tests.plans import plan_of, rows_read
from tests.ways import host_engine
from threadlog.langgraph import Saver
from threadlog.models import graph_metadata

TABLES: Final = (
    "threadlog_checkpoints",
    "threadlog_checkpoint_blobs",
    "threadlog_checkpoint_writes",
)


async def _fill(url: str) -> None:
    async with Saver(url) as saver:
        for thread_id, length in (("t", 300), ("other 0", 5)):
            for config in await put_chain(saver, thread_id, length):
                await saver.aput_writes(config, [("a", 1), ("b", 2)], "task")
        for number in range(1, 200):
            await saver.acopy_thread("other 0", f"other {number}")
        await saver.acopy_thread("t", "to be pruned")
    await on_connection(url, _multiply)


def _multiply(connection: Connection) -> None:
    """Give the other threads ten others each, and let the server count."""
    numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(10))
    for table in TABLES:
        names = [column.name for column in graph_metadata.tables[table].columns]
        values = ["CONCAT(thread_id, ' and ', number)", *names[1:]]
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM {table} CROSS JOIN ({numbers}) AS numbers WHERE thread_id LIKE 'other%%'"
        )
        connection.exec_driver_sql(f"ANALYZE TABLE {table}").all()


@pytest.fixture(scope="module", params=INNODB)
def among_others(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a database in which 200 threads are stored, and one of 300 checkpoints."""
    with fresh_database(request.getfixturevalue(f"{request.param}_server_url")) as url:
        asyncio.run(on_connection(url, create_graph_schema))
        asyncio.run(_fill(url))
        yield url


async def sent_by(url: str, work: Callable[[Saver], Awaitable[object]]) -> list[str]:
    """Give the reading statements that are sent, with their parameters in them."""
    engine = host_engine(url)
    sent: list[str] = []

    def note(c: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.startswith(("WITH", "SELECT")):
            sent.append(statement % tuple(map(repr, parameters)))

    async with Saver(engine=engine) as saver:
        await saver.setup()
        await saver.aget_tuple(config_of("warm"))  # verifies the schema
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        await work(saver)
    await engine.dispose()
    return sent


async def _newest(saver: Saver) -> None:
    assert await saver.aget_tuple(config_of())


async def _one(saver: Saver) -> None:
    page = [found async for found in saver.alist(config_for("t"), limit=1)]
    assert await saver.aget_tuple(page[0].config)


async def _page(saver: Saver) -> None:
    assert [found async for found in saver.alist(config_of(), limit=10)]


async def _history(saver: Saver) -> None:
    assert await saver.aget_delta_channel_history(config=config_of(), channels=["step", "same"])


async def _prune(saver: Saver) -> None:
    await saver.aprune(["to be pruned"])


@pytest.mark.parametrize("work", [_newest, _one, _page, _history, _prune])
async def test_what_belongs_to_a_thread_is_found_by_primary_keys(
    among_others: str, work: Callable[[Saver], Awaitable[object]]
) -> None:
    """Pins that no table is scanned, and that each is looked up by its primary key."""
    statements = await sent_by(among_others, work)
    assert statements
    for statement in statements:
        steps = [step for step in await plan_of(among_others, statement) if step["table"] in TABLES]
        assert steps
        for step in steps:
            assert step["type"] in {"const", "eq_ref", "ref", "range"}, step
            assert step["key"] == "PRIMARY", step


async def test_the_newest_is_found_without_the_others(among_others: str) -> None:
    """Pins that its thread's other checkpoints are neither read nor sorted."""
    (statement,) = await sent_by(among_others, _newest)
    for step in await plan_of(among_others, statement):
        assert "filesort" not in (step["Extra"] or ""), step
    read = await rows_read(among_others, statement)
    print(f"{read} rows read")
    assert read < 60


async def test_the_newest_of_all_threads_is_found_by_an_index(among_others: str) -> None:
    """Pins that a page of all threads reads as many rows of the index as it has checkpoints."""

    async def work(saver: Saver) -> None:
        assert [found async for found in saver.alist(None, limit=10)]

    (statement,) = await sent_by(among_others, work)
    steps = [step for step in await plan_of(among_others, statement) if step["table"] in TABLES]
    assert {step["key"] for step in steps} == {"PRIMARY", "ix_threadlog_checkpoints_recent"}
    read = await rows_read(among_others, statement)
    print(f"{read} rows read")
    assert read < 400
