"""Health checks, and the log records of connections."""

import asyncio
import logging
import re

import pytest
from sqlalchemy import make_url

from tests.support.servers.proxy import Proxy
from tests.support.ways import open_engine, open_sync_engine
from threadlog import Checkpointer, Database, SyncCheckpointer, SyncDatabase
from threadlog.errors import ConnectionLostError, NotOpenError
from threadlog.langgraph import Saver, Store


async def test_ping_of_each_source_of_connections_succeeds(database_url: str) -> None:
    with pytest.raises(NotOpenError):
        await Checkpointer(database_url).ping()
    async with Checkpointer(database_url) as own, open_engine(database_url) as engine:
        await own.ping()
        async with Checkpointer(engine=engine) as shared:
            await shared.ping()


async def test_synchronous_ping_of_each_source_of_connections_succeeds(database_url: str) -> None:
    with pytest.raises(NotOpenError):
        SyncCheckpointer(database_url).ping()
    with SyncCheckpointer(database_url) as own:
        own.ping()
    async with open_sync_engine(database_url) as engine:
        with SyncCheckpointer(engine=engine) as shared:
            shared.ping()


async def test_ping_of_savers_stores_and_databases_needs_no_tables(empty_url: str) -> None:
    async with Database(empty_url) as database:
        await database.ping()
    with SyncDatabase(empty_url) as sync_database:
        sync_database.ping()
    for facade in (Saver(empty_url), Store(empty_url)):
        with pytest.raises(NotOpenError):
            facade.ping()
        async with facade:
            await facade.ping()
        with facade:
            facade.ping()


async def test_ping_replaces_dead_connections_and_soon_reports_a_dead_server(
    server_url: str,
) -> None:
    async with Proxy(make_url(server_url).port or 0) as proxy:
        url = make_url(server_url).set(port=proxy.port)
        async with Checkpointer(
            url, min_pool_size=3, max_pool_size=3, retry_seconds=300
        ) as checkpointer:
            proxy.cut()
            await checkpointer.ping()
            proxy.take_away()
            with pytest.raises(ConnectionLostError) as caught:
                await checkpointer.ping()
        seconds = re.search(r"after retrying for (\d+)", str(caught.value))
        assert seconds, caught.value
        assert int(seconds[1]) < 150, "a transaction is repeated for 300 seconds, a ping for 2"


async def test_connections_are_logged_at_debug_without_the_password(
    server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "threadlog")
    async with Checkpointer(server_url, min_pool_size=0, max_pool_size=1) as checkpointer:
        await asyncio.gather(*(checkpointer.load("t") for _ in range(2)))
    shown = make_url(server_url).render_as_string()
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [
        f"Opened {shown}",
        f"Connected to {shown}",
        "Waiting for a connection: all 1 are in use",
        f"Disconnected from {shown}",
        f"Closed {shown}",
    ]


async def test_an_applications_engine_is_logged_at_debug(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_engine(database_url) as engine, open_sync_engine(database_url) as plain:
        caplog.set_level(logging.DEBUG, "threadlog")
        async with Checkpointer(engine=engine):
            pass
        with SyncCheckpointer(engine=plain):
            pass
    assert [record.getMessage().split()[0] for record in caplog.records] == ["Opened", "Closed"] * 2
