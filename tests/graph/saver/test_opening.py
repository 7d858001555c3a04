"""Entering a saver, setting its tables up, and using it where it is not open."""

import asyncio
import gc
import json
import threading
from typing import Any, cast

import pytest
from sqlalchemy import QueuePool, inspect

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of, put_chain
from tests.support.databases import execute, on_connection
from tests.support.patience import patience
from tests.support.processes import PythonProcess
from tests.support.ways import host_engine, sync_host_engine
from threadlog import Checkpointer
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    NotOpenError,
)
from threadlog.graph.client import GraphClient
from threadlog.langgraph import Saver
from threadlog.models import GRAPH, MESSAGES


async def tables(url: str) -> set[str]:
    """Return the names of a database's tables."""
    return await on_connection(url, lambda connection: set(inspect(connection).get_table_names()))


async def test_setup_creates_the_graphs_tables_and_no_others(empty_url: str) -> None:
    async with Saver(empty_url) as saver:
        if not empty_url.startswith("sqlite"):
            with pytest.raises(CubepiSchemaUninitialized, match="threadlog migrate URL"):
                await saver.aget_tuple(config_for("t"))
        for _ in range(2):
            await saver.setup()
            await put_chain(saver, "t", 2)
    found = await tables(empty_url)
    assert found >= GRAPH.tables
    assert found.isdisjoint(MESSAGES.tables)


async def test_setup_without_asyncio(empty_url: str) -> None:
    with Saver(empty_url) as saver:
        for _ in range(2):
            assert saver.setup() is None
        saver.put(config_for("t"), checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
        assert len(list(saver.list(None))) == 1


async def test_setup_over_a_hosts_engine(empty_url: str) -> None:
    engine, plain = host_engine(empty_url), sync_host_engine(empty_url)
    async with Saver(engine=engine) as saver:
        with pytest.raises(CubepiSchemaUninitialized):
            await saver.aget_tuple(config_for("t"))
        await saver.setup()
        await put_chain(saver, "t", 2)
    with Saver(engine=plain) as saver:
        saver.setup()
        assert len(list(saver.list(config_for("t")))) == 2
    for pool in (engine.sync_engine.pool, plain.pool):
        assert cast("QueuePool", pool).checkedout() == 0
    await engine.dispose()
    plain.dispose()


async def test_tables_that_come_later_are_found(innodb_database: str) -> None:
    """A saver which was opened too early works once another has set up."""
    async with Saver(innodb_database) as early:
        with pytest.raises(CubepiSchemaUninitialized):
            await early.aget_tuple(config_for("t"))
        async with Saver(innodb_database) as other:
            await other.setup()
        assert await early.aget_tuple(config_for("t")) is None


async def test_another_version_is_refused_and_left_alone(empty_url: str) -> None:
    async with Saver(empty_url) as saver:
        await saver.setup()
    await execute(empty_url, f"UPDATE {GRAPH.version_table} SET version = 99")
    async with Saver(empty_url) as saver:
        with pytest.raises(CubepiSchemaMismatch, match="upgrade threadlog"):
            await saver.aget_tuple(config_for("t"))
        with pytest.raises(CubepiSchemaMismatch):
            await saver.setup()


async def test_tasks_of_one_process_set_up_at_once(empty_url: str) -> None:
    """Neither Alembic's globals nor the loop stand in the way of eight."""
    savers = [Saver(empty_url, max_pool_size=1) for _ in range(8)]
    for saver in savers:
        await saver.__aenter__()
    try:
        async with patience():
            await asyncio.gather(*(saver.setup() for saver in savers))
            await asyncio.gather(*(put_chain(s, f"t{n}", 1) for n, s in enumerate(savers)))
        stored = [await savers[0].aget_tuple(config_for(f"t{n}")) for n in range(len(savers))]
        assert None not in stored
    finally:
        for saver in savers:
            await saver.__aexit__(None, None, None)


SETS_UP = """
import asyncio, sys
from threadlog.langgraph import Saver
from tests.graph.saver.making import put_chain

async def main(url, name):
    async with Saver(url) as saver:
        print("ready", flush=True)
        sys.stdin.readline()
        await saver.setup()
        await put_chain(saver, name, 3)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.processes
async def test_four_processes_set_up_at_once(empty_url: str) -> None:
    """All succeed, and one set of tables serves all."""
    processes = [
        PythonProcess(
            *("-c", SETS_UP, empty_url, f"t{number}"), imports=["tests.graph.saver.making"]
        )
        for number in range(4)
    ]
    for process in processes:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    ended = [await asyncio.to_thread(process.communicate, "\n") for process in processes]
    assert ended == [("", "")] * 4
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    async with Saver(empty_url) as saver:
        assert len([found async for found in saver.alist(None)]) == 12
    print(f"{empty_url.partition(':')[0]}: 4 processes set up at once, 12 checkpoints")


async def test_messages_and_graphs_share_a_database(empty_url: str) -> None:
    """One SQLite file, or one MySQL database, holds both parts."""
    if empty_url.startswith("sqlite"):
        async with Checkpointer(empty_url) as checkpointer:
            await checkpointer.save_extra("t", {"a": 1})
    async with Saver(empty_url) as saver:
        await saver.setup()
        await put_chain(saver, "t", 1)
    if empty_url.startswith("sqlite"):
        async with Checkpointer(empty_url) as checkpointer:
            assert (await checkpointer.load("t")) is not None
            assert await tables(empty_url) >= GRAPH.tables | MESSAGES.tables


async def test_outside_the_block_nothing_works(sqlite_url: str) -> None:
    saver = Saver(sqlite_url)
    assert "closed" in repr(saver)
    for _ in range(2):
        with pytest.raises(NotOpenError):
            saver.get_tuple(config_for("t"))
        with pytest.raises(NotOpenError):
            await saver.aget_tuple(config_for("t"))
        with pytest.raises(NotOpenError):
            saver.setup()
        async with saver:
            assert "open" in repr(saver)
            assert await saver.aget_tuple(config_for("t")) is None


async def test_a_saver_is_entered_once_at_a_time(sqlite_url: str) -> None:
    saver = Saver(sqlite_url)
    async with saver:
        with pytest.raises(ConfigurationError, match="entered already"):
            await saver.__aenter__()
        with pytest.raises(ConfigurationError, match="entered already"):
            saver.__enter__()
        await put_chain(saver, "t", 1)
    with saver:
        with pytest.raises(ConfigurationError, match="entered already"):
            await saver.__aenter__()
        with pytest.raises(ConfigurationError, match="entered already"):
            saver.__enter__()
        assert len(list(saver.list(None))) == 1


async def test_asynchronous_methods_need_an_asynchronous_block(sqlite_url: str) -> None:
    """The error says what to do."""
    with Saver(sqlite_url) as saver, pytest.raises(NotOpenError, match="entered with 'with'"):
        await saver.aget_tuple(config_for("t"))


async def test_synchronous_methods_work_in_other_threads_than_the_loops(graph_url: str) -> None:
    async with Saver(graph_url) as saver:
        with pytest.raises(NotOpenError, match="use the asynchronous methods"):
            saver.get_tuple(config_for("t"))

        def work() -> list[Any]:
            config = config_for("t")
            saver.put(config, checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
            assert threading.current_thread() is not threading.main_thread()
            return list(saver.list(config))

        (found,) = await asyncio.to_thread(work)
        assert await saver.aget_tuple(config_for("t")) == found
    gc.collect()  # a coroutine that was never awaited would be told here


async def test_a_shared_client_serves_savers_that_need_no_block(graph_url: str) -> None:
    """The code that opened the client closes it."""
    client = GraphClient(graph_url)
    saver = Saver(client=client)
    with pytest.raises(NotOpenError):
        await saver.aget_tuple(config_for("t"))
    await client.open()
    await put_chain(saver, "t", 1)
    with pytest.raises(ConfigurationError, match="entered already"):
        await saver.__aenter__()
    assert await Saver(client=client).aget_tuple(config_for("t")) is not None
    await client.close()
    with pytest.raises(NotOpenError):
        await saver.aget_tuple(config_for("t"))


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((), {}, "Give exactly one source"),
        (("sqlite://",), {"engine": 1}, "Give exactly one source"),
        (("nonsense",), {}, "cannot be parsed"),
        (("oracle://host/db",), {}, "does not support 'oracle'"),
        (("sqlite://",), {"min_pool_size": 2, "max_pool_size": 1}, "above max_pool_size"),
    ],
)
def test_wrong_sources_are_refused_at_once(
    arguments: tuple[str, ...], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Saver(*arguments, **options)


async def test_an_engine_of_the_other_kind_is_refused(sqlite_url: str) -> None:
    """Entering says which kind is needed."""
    engine, plain = host_engine(sqlite_url), sync_host_engine(sqlite_url)
    with pytest.raises(ConfigurationError, match="not AsyncEngine"):
        await Saver(engine=plain).__aenter__()
    with pytest.raises(ConfigurationError, match="not Engine"):
        Saver(engine=engine).__enter__()
    await engine.dispose()
    plain.dispose()


def test_no_password_is_shown(sqlite_url: str) -> None:
    saver = Saver("mysql://me:geheim@localhost/app")
    assert repr(saver) == "<Saver mysql://me:***@localhost/app closed>"
    assert json.dumps(str(saver)).find("geheim") == -1
