"""How servers find what is read: by primary keys, among the rows of thousands of other threads."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import pytest
from sqlalchemy import Connection, func, insert, select

from tests.graph.graphs.histories import config_of
from tests.graph.saver.making import config_for, put_chain
from tests.support.databases import INNODB, SERVERS, create_schema, fresh_database, on_connection
from tests.support.matrix import on_each
from tests.support.plans import Plan, Sent, analyze, explain, recorded, rows_read
from tests.support.ways import host_engine
from threadlog.langgraph import Saver
from threadlog.models import GRAPH, graph_metadata

TABLES: Final = (
    "threadlog_checkpoints",
    "threadlog_checkpoint_blobs",
    "threadlog_checkpoint_writes",
)
DOUBLINGS: Final = 12


def _copy_other(connection: Connection) -> None:
    """Create thousands of rows of another thread, because servers scan small tables."""
    for table in (graph_metadata.tables[name] for name in TABLES):
        key, *rest = table.c
        for times in range(DOUBLINGS):
            copies = select(func.concat(f"{times} ", key), *rest).where(key.like("%other"))
            connection.execute(insert(table).from_select([key, *rest], copies))


async def _fill(url: str) -> None:
    async with Saver(url) as saver:
        for thread_id, length in (("t", 300), ("other", 5)):
            for config in await put_chain(saver, thread_id, length):
                await saver.aput_writes(config, [("a", 1), ("b", 2)], "task")
        await saver.acopy_thread("t", "to be pruned")
    await on_connection(url, _copy_other)
    await on_connection(url, lambda connection: analyze(connection, *TABLES))


@pytest.fixture(scope="module", params=on_each(SERVERS))
def among_others(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database with thousands of threads, and one of 300 checkpoints."""
    with fresh_database(request.getfixturevalue(f"{request.param}_server_url")) as url:
        asyncio.run(on_connection(url, partial(create_schema, part=GRAPH)))
        asyncio.run(_fill(url))
        yield url


async def reading(url: str, work: Callable[[Saver], Awaitable[object]]) -> Sent:
    """Return the statements that read."""
    engine = host_engine(url)
    async with Saver(engine=engine) as saver:
        await saver.setup()
        await saver.aget_tuple(config_of("warm"))  # verifies the schema
        with recorded([engine.sync_engine]) as sent:
            await work(saver)
    await engine.dispose()
    return [one for one in sent if one[0].startswith(("WITH", "SELECT"))]


async def plans(url: str, work: Callable[[Saver], Awaitable[object]]) -> list[Plan]:
    """Return the server's plan of each statement that reads."""
    sent = await reading(url, work)
    return await on_connection(url, lambda connection: explain(connection, sent, small=True))


async def _newest(saver: Saver) -> None:
    assert await saver.aget_tuple(config_of())


async def _one(saver: Saver) -> None:
    page = [found async for found in saver.alist(config_of(), limit=1)]
    assert await saver.aget_tuple(page[0].config)


async def _page(saver: Saver) -> None:
    assert [found async for found in saver.alist(config_of(), limit=10)]


async def _page_of_namespace(saver: Saver) -> None:
    config = config_for("t", "")
    assert [found async for found in saver.alist(config, limit=10)]


async def _history(saver: Saver) -> None:
    assert await saver.aget_delta_channel_history(config=config_of(), channels=["step", "same"])


async def _prune(saver: Saver) -> None:
    await saver.aprune(["to be pruned"])


@pytest.mark.parametrize("work", [_newest, _one, _page, _page_of_namespace, _history, _prune])
async def test_what_belongs_to_a_thread_is_found_by_primary_keys(
    among_others: str, work: Callable[[Saver], Awaitable[object]]
) -> None:
    """No table is scanned, and each is looked up by its primary key."""
    found = await plans(among_others, work)
    assert found
    for plan in found:
        print(plan)
        for step in (step for step in plan.steps if step.table in TABLES):
            assert not step.whole, plan
            assert str(step.key).endswith(("PRIMARY", "_pkey")), plan


@pytest.mark.parametrize("among_others", on_each(INNODB), indirect=True)
async def test_the_newest_is_found_without_the_others(among_others: str) -> None:
    """Its thread's other checkpoints are neither read nor sorted."""
    ((statement, parameters),) = await reading(among_others, _newest)
    read = await on_connection(among_others, lambda c: rows_read(c, statement, parameters))
    print(f"{read} rows read")
    assert read < 60


async def test_the_newest_of_all_threads_is_found_by_an_index(among_others: str) -> None:
    """A page of all threads is read from the end of an index, without sorting."""

    async def work(saver: Saver) -> None:
        assert [found async for found in saver.alist(None, limit=10)]

    (plan,) = await plans(among_others, work)
    whole = {step.key for step in plan.steps if step.whole}
    assert whole == {"ix_threadlog_checkpoints_recent"}, plan
    assert "LIMIT" in plan.statement
    assert not plan.sorts, plan


async def test_values_of_the_newest_are_found_by_key_among_some_thousand(
    postgres_graph_url: str,
) -> None:
    """PostgreSQL would read a table of this size whole to join it with an array's items."""
    async with Saver(postgres_graph_url) as saver:
        await put_chain(saver, "t", 300)
        for number in range(8):
            await saver.acopy_thread("t", f"other {number}")
    await on_connection(postgres_graph_url, lambda connection: analyze(connection, *TABLES))
    sent = await reading(postgres_graph_url, _newest)
    found = await on_connection(postgres_graph_url, lambda connection: explain(connection, sent))
    steps = [step for plan in found for step in plan.steps if step.table == TABLES[1]]
    assert steps
    assert not any(step.whole for step in steps), found
