"""A message log, a saver and a store on one pool."""

import asyncio
import sys
from typing import Any

import pytest
from langgraph.constants import START
from langgraph.graph.state import StateGraph
from sqlalchemy import make_url, text

from tests.store.test_graphs import State, recall, recall_sync, remember, remember_sync
from tests.support.databases import execute, on_connection
from tests.support.schemas import tables
from threadlog import Checkpointer, Database, SyncDatabase
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    MissingExtraError,
    NotOpenError,
)
from threadlog.graph.client import GraphClient
from threadlog.langgraph import Saver, Store
from threadlog.messages import UserMessage
from threadlog.models import CONTROL, GRAPH, MESSAGES, METADATA, PARTS, STORE

# A server's metadata is no part of it.
TABLES = {name for part in PARTS if part is not METADATA for name in part.tables}

CONFIG: Any = {"configurable": {"thread_id": "t"}}


def message(words: str) -> UserMessage:
    return UserMessage.model_validate(
        {"role": "user", "content": [{"type": "text", "text": words}]}
    )


def graph_on(saver: Saver, store: Store, nodes: tuple[Any, Any]) -> Any:
    """Compile a graph that recalls, then remembers."""
    builder = StateGraph(State)
    builder.add_sequence([("recall", nodes[0]), ("remember", nodes[1])])
    builder.add_edge(START, "recall")
    return builder.compile(checkpointer=saver, store=store)


async def test_messages_checkpoints_and_memories_are_stored(empty_url: str) -> None:
    for turn in (1, 2):
        async with Database(empty_url) as database:
            await database.setup()
            await database.checkpointer.append("t", [message(f"turn {turn}")])
            graph = graph_on(database.saver, database.store, (recall, remember))
            given = {"user": "ann", "said": f"turn {turn}"}
            known = (await graph.ainvoke(given, CONFIG))["known"]
            assert known == [f"turn {number}" for number in range(1, turn)]
            data = await database.checkpointer.load("t")
            assert data is not None
            assert len(data.messages) == turn
            assert len([one async for one in database.saver.alist(CONFIG)]) == 4 * turn
    assert await tables(empty_url) >= TABLES


async def test_a_synchronous_database_stores_the_same(empty_url: str) -> None:
    def run(turn: int) -> None:
        with SyncDatabase(empty_url) as database:
            database.setup()
            database.checkpointer.append("t", [message(f"turn {turn}")])
            graph = graph_on(database.saver, database.store, (recall_sync, remember_sync))
            known = graph.invoke({"user": "ann", "said": f"turn {turn}"}, CONFIG)["known"]
            assert known == [f"turn {number}" for number in range(1, turn)]
            data = database.checkpointer.load("t")
            assert data is not None
            assert len(data.messages) == turn

    for turn in (1, 2):
        await asyncio.to_thread(run, turn)


async def test_all_three_share_one_pool(innodb_database: str) -> None:
    """All connections to the server, with each of the three at work."""
    name = make_url(innodb_database).database
    query = text("SELECT COUNT(*) FROM information_schema.processlist WHERE db = :name")
    async with Database(innodb_database, max_pool_size=3) as database:
        await database.setup()
        calls = [
            call
            for number in range(30)
            for call in (
                database.checkpointer.append(f"t{number}", [message("x")]),
                database.saver.aget(CONFIG),
                database.store.aput(("a",), str(number), {}),
            )
        ]
        await asyncio.gather(*calls)
        taken = await on_connection(
            make_url(innodb_database).set(database="information_schema"),
            lambda connection: connection.scalar(query, {"name": name}),
        )
    assert taken == 3


async def test_each_part_is_verified_for_itself(server_database: str) -> None:
    async with Store(server_database) as store:
        await store.setup()
    async with Database(server_database) as database:
        await database.store.aput(("a",), "k", {"x": 1})
        with pytest.raises(CubepiSchemaUninitialized, match="for messages"):
            assert database.checkpointer
        with pytest.raises(CubepiSchemaUninitialized, match="the state of graphs"):
            await database.saver.aget(CONFIG)
        await database.setup()
        await database.checkpointer.append("t", [message("x")])
        assert await database.saver.aget(CONFIG) is None
        assert await database.store.aget(("a",), "k") is not None


@pytest.mark.one_database
async def test_tables_of_another_version_are_refused(empty_url: str) -> None:
    async with Database(empty_url) as database:
        await database.setup()
    for part in (MESSAGES, GRAPH, STORE, CONTROL):
        await execute(empty_url, f"UPDATE {part.version_table} SET version = 99")
    async with Database(empty_url) as database:
        with pytest.raises(CubepiSchemaMismatch):
            assert database.checkpointer
        with pytest.raises(CubepiSchemaMismatch):
            await database.saver.aget(CONFIG)
        with pytest.raises(CubepiSchemaMismatch):
            await database.store.aget(("a",), "k")
        with pytest.raises(CubepiSchemaMismatch):
            await database.setup()


@pytest.mark.sqlite
async def test_an_sqlite_file_is_given_all_tables_on_opening(sqlite_url: str) -> None:
    async with Database(sqlite_url) as database:
        await database.checkpointer.append("t", [message("x")])
        await database.store.aput(("a",), "k", {})
    assert await tables(sqlite_url) == TABLES


@pytest.mark.one_database
async def test_leaving_the_block_closes_all_three(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(NotOpenError):
        await database.store.aget(("a",), "k")
    async with database:
        await database.setup()
        sweeper = await database.store.start_ttl_sweeper(5)
        checkpointer = database.checkpointer
        with pytest.raises(ConfigurationError, match="entered already"):
            await database.__aenter__()
        assert await checkpointer.load("t") is None
        assert repr(database).endswith("open>")
    assert sweeper.done()
    assert repr(database).endswith("closed>")
    for call in (
        checkpointer.append("t", [message("x")]),
        database.saver.aget(CONFIG),
        database.store.aget(("a",), "k"),
    ):
        with pytest.raises(NotOpenError):
            await call
    async with database:  # it can be entered again
        await database.checkpointer.append("t", [message("x")])
        assert await database.store.aget(("a",), "k") is None


@pytest.mark.one_database
async def test_setup_does_not_disturb_appends_that_wait(empty_url: str) -> None:
    """All appends go through one batcher, which keeps the order of a thread's."""
    async with Database(empty_url) as database:
        await database.setup()
        appends = [database.checkpointer.append("t", [message(f"{n}")]) for n in range(40)]
        tasks = [asyncio.create_task(append) for append in appends[:20]]
        await asyncio.sleep(0)
        await database.setup()
        await asyncio.gather(*tasks, *appends[20:])
        data = await database.checkpointer.load("t")
        assert data is not None
        texts = [one.model_dump()["content"][0]["text"] for one in data.messages]
        assert texts == [f"{n}" for n in range(40)]
        batcher = database.checkpointer.batcher
        await database.setup()
        assert database.checkpointer.batcher is batcher


@pytest.mark.one_database
async def test_another_checkpointer_may_share_the_client(empty_url: str) -> None:
    async with Database(empty_url) as database:
        await database.setup()
        client: Any = database.checkpointer.client
        async with Checkpointer(client=client) as other:
            await other.append("t", [message("x")])
        data = await database.checkpointer.load("t")
        assert data is not None
        assert len(data.messages) == 1
        with pytest.raises(ConfigurationError, match="exactly one source"):
            Checkpointer(empty_url, client=client)
        with pytest.raises(ConfigurationError, match="exactly one source"):
            Saver(empty_url, client=GraphClient(client=client))


@pytest.mark.one_database
async def test_leaving_a_synchronous_block_closes_all_three(empty_url: str) -> None:
    def run() -> None:
        database = SyncDatabase(empty_url)
        with database:
            database.setup()
            sweeper = database.store.start_ttl_sweeper(5)
            checkpointer = database.checkpointer
            assert database.saver.get(CONFIG) is None
        assert sweeper.done()
        with pytest.raises(NotOpenError):
            checkpointer.append("t", [message("x")])
        with pytest.raises(NotOpenError):
            database.saver.get(CONFIG)
        with pytest.raises(NotOpenError):
            database.store.get(("a",), "k")

    await asyncio.to_thread(run)


@pytest.mark.sqlite
async def test_a_database_without_langgraph_keeps_messages(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("threadlog.langgraph")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langgraph.store.base", None)
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.base", None)
    async with Database(sqlite_url) as database:
        await database.checkpointer.append("t", [message("x")])
        with pytest.raises(MissingExtraError, match=r"threadlog\[langgraph"):
            assert database.saver
        with pytest.raises(MissingExtraError):
            assert database.store


@pytest.mark.one_database
@pytest.mark.parametrize("synchronous", [False, True])
async def test_setup_brings_thread_control_beside_messages(
    server_url: str, *, synchronous: bool
) -> None:
    """The log that was opened without it uses it from then on."""

    def run() -> None:
        with SyncDatabase(server_url) as database:
            database.checkpointer.append("t", [message("x")])
            database.setup()
            database.checkpointer.append("t", [message("y")], owner="ann")

    if synchronous:
        await asyncio.to_thread(run)
        return
    async with Database(server_url) as database:
        await database.checkpointer.append("t", [message("x")])
        await database.setup()
        await database.checkpointer.append("t", [message("y")], owner="ann")
