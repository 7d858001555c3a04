"""Errors that the database raises in the saver's transactions, as callers see them."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Self

import pytest
from sqlalchemy import Connection, Dialect, Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from tests.graph.saver.making import checkpoint_of, config_for, id_of, ids, metadata_of, put_chain
from tests.support.commits import NUMBER, kill_connection
from tests.support.databases import engine_for
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import CommitOutcomeUnknownError, ConnectionLostError
from threadlog.langgraph import Saver
from threadlog.runtime.client import EngineClient


@pytest.fixture
async def other(innodb_graph_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(innodb_graph_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def client_of(saver: Saver) -> EngineClient:
    """Return the client of a saver on a URL."""
    assert saver._slot.client is not None
    client = saver._slot.client._client
    assert isinstance(client, EngineClient)
    return client


def engine_of(saver: Saver) -> Engine:
    """Return the engine that a saver on a URL opened for itself."""
    engine = client_of(saver).engine
    assert engine is not None
    return engine


class Killed:
    """Kills a saver's connection before its next COMMIT, so that nobody knows what became of it."""

    def __init__(self, saver: Saver, other: AsyncConnection) -> None:
        self.engine = engine_of(saver)
        self.other = other
        self.kills = 0

    def __enter__(self) -> Self:
        """Begin to listen."""
        event.listen(self.engine, "commit", self._kill)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        event.remove(self.engine, "commit", self._kill)

    def _kill(self, connection: Connection) -> None:
        if self.kills:
            return
        self.kills += 1
        number = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        await_only(self.other.execute(text(f"KILL {number}")))


async def test_a_connection_lost_during_commit_costs_a_put_nothing(
    innodb_graph_url: str, other: AsyncConnection
) -> None:
    """A put that may be stored already is stored again, which changes nothing."""
    async with Saver(innodb_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
        checkpoint = checkpoint_of({"a": 1})
        with Killed(saver, other) as killed:
            stored = await saver.aput(config, checkpoint, metadata_of(), {"a": "1"})
        assert killed.kills == 1
        await saver.aput_writes(stored, [("a", 1)], "task")
        found = await saver.aget_tuple(config_for("t"))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"a": 1}
        assert found.pending_writes == [("task", "a", 1)]
        with Killed(saver, other) as killed:
            await saver.aprune(["t"])
        assert killed.kills == 1
        assert await ids(saver.alist(None)) == [checkpoint["id"]]
        with Killed(saver, other) as killed:
            await saver.adelete_thread("t")
        assert killed.kills == 1
        assert await ids(saver.alist(None)) == []


@pytest.mark.parametrize("arrives", [True, False])
async def test_statement_whose_answer_is_lost_is_run_again(
    server_graph_url: str, *, arrives: bool
) -> None:
    """Writes, and on PostgreSQL checkpoints, are stored without BEGIN and COMMIT."""
    stranger = engine_for(server_graph_url, isolation_level="AUTOCOMMIT")
    async with stranger.connect() as other, Saver(server_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
        checkpoint, killed = checkpoint_of({"a": 1}), set()

        def kill(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
            table = "checkpoints" if "threadlog_checkpoints" in statement else "writes"
            if statement.lstrip().startswith(("INSERT", "WITH")) and table not in killed:
                killed.add(table)
                number = connection.connection.cursor()
                number.execute(NUMBER[connection.dialect.name])
                found: Any = number.fetchone()
                await_only(kill_connection(other, found[0]))

        when = "after_cursor_execute" if arrives else "before_cursor_execute"
        client = client_of(saver)
        for engine in (client.engine, client.reading_engine):
            assert engine is not None
            event.listen(engine, when, kill)
        stored = await saver.aput(config, checkpoint, metadata_of(), {"a": "1"})
        await saver.aput_writes(stored, [("a", 1), ("b", 2)], "task")
        assert "writes" in killed
        found = await saver.aget_tuple(config_for("t"))
    await stranger.dispose()
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 1}
    assert found.pending_writes == [("task", "a", 1), ("task", "b", 2)]


async def test_statement_to_a_server_that_is_away_has_a_known_outcome(
    innodb_graph_url: str,
) -> None:
    async with Saver(innodb_graph_url, min_pool_size=0, retry_seconds=0) as saver:
        (config,) = await put_chain(saver, "t", 1)
        client = client_of(saver)
        for engine in (client.engine, client.reading_engine):
            assert engine is not None
            event.listen(engine, "do_connect", refuse)
            await AsyncEngine(engine).dispose()
        with pytest.raises(ConnectionLostError, match="Nothing was committed"):
            await saver.aput_writes(config, [("a", 1)], "task")


def refuse(dialect: Dialect, record: object, arguments: object, options: object) -> None:
    """Refuse a connection, as a server that is away does."""
    raise dialect.loaded_dbapi.OperationalError(2003, "Can't connect: [Errno 111]")


async def test_writes_in_several_statements_are_one_transaction(server_graph_url: str) -> None:
    """On a connection in autocommit mode too."""
    async with Saver(server_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
        client, ends = client_of(saver), list[str]()
        client.facts = DatabaseFacts(20_000)
        for engine in (client.engine, client.reading_engine):
            assert engine is not None
            for end in ("begin", "commit"):
                event.listen(engine, end, partial(lambda end, _: ends.append(end), end))
        writes = [(f"c{number}", "x" * 4_000) for number in range(10)]
        await saver.aput_writes(config, writes, "task")
        assert ends == ["begin", "commit"]
        found = await saver.aget_tuple(config_for("t"))
        assert found is not None
        assert found.pending_writes == [("task", *write) for write in writes]


async def test_a_copy_that_may_be_there_is_not_made_twice(
    innodb_graph_url: str, other: AsyncConnection
) -> None:
    """The one method which could not be repeated says so."""
    async with Saver(innodb_graph_url) as saver:
        await put_chain(saver, "t", 2)
        with Killed(saver, other), pytest.raises(CommitOutcomeUnknownError):
            await saver.acopy_thread("t", "copy")


async def test_every_pooled_connection_killed_between_calls(
    innodb_graph_url: str, other: AsyncConnection
) -> None:
    """The next call works without a restart, as after a night of idling."""
    async with Saver(innodb_graph_url) as saver:
        await put_chain(saver, "t", 2)
        mine = (await other.execute(text("SELECT CONNECTION_ID()"))).scalar_one()
        idle = await other.execute(
            text("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
        )
        for number in idle.scalars().all():
            if number != mine:
                await other.execute(text(f"KILL {number}"))
        assert await saver.aget_tuple(config_for("t")) is not None
        await put_chain(saver, "u", 2)


async def test_what_is_pruned_while_it_is_copied_is_copied_whole(innodb_graph_url: str) -> None:
    """A copy's checkpoints get their values, which later statements copy."""
    async with Saver(innodb_graph_url) as saver, Saver(innodb_graph_url) as pruner:
        stored = await put_chain(saver, "t", 3)
        pruning: list[asyncio.Task[None]] = []

        def prune(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO threadlog_checkpoints "):
                pruning.append(asyncio.create_task(pruner.aprune(["t"])))
                await_only(asyncio.wait(pruning, timeout=0.5))

        event.listen(engine_of(saver), "after_cursor_execute", prune)
        await saver.acopy_thread("t", "copy")
        await asyncio.gather(*pruning)
        assert len(pruning) == 1
        steps = [
            found.checkpoint["channel_values"] async for found in saver.alist(config_for("copy"))
        ]
        assert steps == [
            {"step": 2, "same": "x"},
            {"step": 1, "same": "x"},
            {"step": 0, "same": "x"},
        ]
        assert await ids(saver.alist(config_for("t"))) == [id_of(stored[-1])]
