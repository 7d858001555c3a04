"""Several migrations of one process at once: Alembic has one context for all of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.schema.migrations.running import upgrade
from tests.support.schemas import differences, tables, version_rows
from threadlog import migrating
from threadlog.databases.registry import backend_of
from threadlog.errors import CheckpointerLockTimeoutError
from threadlog.graph.client import GraphClient, SyncGraphClient
from threadlog.models import GRAPH, MESSAGES, PARTS
from threadlog.schema import migrate

_DRIVERS: Final = {
    "mysql": ("asyncmy", "pymysql"),
    "mariadb": ("asyncmy", "pymysql"),
    "postgresql": ("asyncpg", "psycopg"),
    "sqlite": ("aiosqlite", "pysqlite"),
}


def _driven(url: str) -> tuple[URL, URL]:
    """Return a URL with an asynchronous driver, and with a synchronous one."""
    plain = make_url(url)
    kind = plain.get_backend_name()
    if kind in {"mysql", "mariadb"}:
        plain = plain.update_query_dict({"charset": "utf8mb4"})
    first, second = (plain.set(drivername=f"{kind}+{name}") for name in _DRIVERS[kind])
    return first, second


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[GraphClient]:
    """Open a client on an application's engine, which creates no tables on SQLite either."""
    engine = create_async_engine(_driven(url)[0])
    client = GraphClient(engine=engine)
    await client.open()
    try:
        yield client
    finally:
        await client.close()
        await engine.dispose()


@contextmanager
def _turn_is_taken() -> Iterator[None]:
    """Run a migration in another thread."""
    with migrate._ALEMBIC_LOCK:
        yield


async def test_tasks_may_set_up_at_once(empty_url: str, tmp_path: Path) -> None:
    urls = [empty_url] * 8 + [f"sqlite:///{tmp_path}/{number}.db" for number in range(8)]

    async def set_up(url: str) -> None:
        async with _opened(url) as client:
            await client.setup()

    began = time.perf_counter()
    await asyncio.gather(*map(set_up, urls))
    print(f"16 set-ups in tasks: {time.perf_counter() - began:.1f} s")
    for url in {*urls}:
        assert await version_rows(url, GRAPH) == [GRAPH.version]
        assert await differences(url, GRAPH) == []


def test_threads_may_set_up_at_once(empty_url: str, tmp_path: Path) -> None:
    urls = [empty_url] * 4 + [f"sqlite:///{tmp_path}/{number}.db" for number in range(4)]

    def set_up(url: str) -> None:
        engine = create_engine(_driven(url)[1])
        client = SyncGraphClient(engine=engine)
        client.open()
        client.setup()
        client.close()
        engine.dispose()

    with ThreadPoolExecutor(len(urls)) as threads:
        list(threads.map(set_up, urls))
    for url in {*urls}:
        assert asyncio.run(version_rows(url, GRAPH)) == [GRAPH.version]
        assert asyncio.run(differences(url, GRAPH)) == []


async def test_both_parts_may_be_upgraded_at_once(empty_url: str) -> None:
    first, second = await asyncio.gather(migrating.upgrade(empty_url), migrating.upgrade(empty_url))
    for part in PARTS:
        assert {first[part.name], second[part.name]} == {"created", "unchanged"}


async def test_waiting_for_a_turn_leaves_the_loop_alone(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks run on, while one waits for a migration of another thread."""
    monkeypatch.setattr(migrate, "_LOCK_SECONDS", 120)  # else a loop that is blocked stays so
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async with _opened(sqlite_url) as client:
        with _turn_is_taken():
            waiting = asyncio.create_task(client.setup())
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0.5)
            assert not waiting.done()
        await waiting
        ticking.cancel()
    assert ticks > 10
    assert await version_rows(sqlite_url, GRAPH) == [GRAPH.version]


async def test_a_turn_is_waited_for_only_so_long(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_SECONDS", 0.1)
    with (
        _turn_is_taken(),
        pytest.raises(CheckpointerLockTimeoutError, match="Another migration of this process"),
    ):
        await migrating.upgrade(empty_url)
    with (
        _turn_is_taken(),
        pytest.raises(CheckpointerLockTimeoutError, match="Another migration of this process"),
    ):
        migrating.upgrade_sql(empty_url)
    assert await tables(empty_url) == set()
    assert await upgrade(empty_url, MESSAGES) == "created"


async def test_a_turn_that_is_cancelled_is_given_back(innodb_database: str) -> None:
    """A start-up which was cancelled, at any moment, does not block the next."""
    for seconds in (0.005, 0.02, 0.05, 0.1, 0.2, 0.4):
        task = asyncio.create_task(migrating.upgrade(innodb_database))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not migrate._ALEMBIC_LOCK.locked()
    await migrating.upgrade(innodb_database)
    for part in PARTS:
        assert await differences(innodb_database, part) == []


async def test_a_connection_of_the_host_s_is_left_without_a_transaction(empty_url: str) -> None:
    asynchronous, synchronous = _driven(empty_url)
    backend = backend_of(synchronous)
    engine = create_async_engine(asynchronous)
    async with engine.connect() as connection:
        outcome = await connection.run_sync(migrate.upgrade_on, backend, GRAPH, time.sleep)
        assert not connection.in_transaction()
    await engine.dispose()
    assert outcome == "created"
    plain = create_engine(synchronous)
    with plain.connect() as held:
        assert migrate.upgrade_on(held, backend, GRAPH, time.sleep) == "unchanged"
        assert migrate.upgrade_on(held, backend, MESSAGES, time.sleep) == "created"
        assert not held.in_transaction()
    plain.dispose()
