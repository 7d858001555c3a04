"""Servers that say nothing, and callers that do not wait for ever."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final, NoReturn, cast

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.databases import engines_of, pools_of
from tests.support.factories import UserFactory
from tests.support.patience import PATIENCE_SECONDS
from tests.support.servers.product import HOST
from tests.support.servers.proxy import Proxy
from tests.support.ways import EachInAThread, host_engine, own
from threadlog import Checkpointer, SyncCheckpointer, migrating
from threadlog.databases import timeouts as time_limits
from threadlog.databases.mysql.database import _lock_name
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConfigurationError,
    ConnectionLostError,
    PoolTimeoutError,
    StatementTimeoutError,
)
from threadlog.messages import TextContent, UserMessage
from threadlog.runtime.client import EngineClient

# A second and a half is more than a statement needs on a busy machine.
HASTY = "read_timeout=1.5&connect_timeout=3"
ONCE = f"{HASTY}&retry_seconds=0"
BOTH = pytest.mark.parametrize("way", ["own", "sync"])


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """Fail a test that hangs: these tests are about hangs, and a failure would never end."""

    def fail(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise AssertionError("the test hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(PATIENCE_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of the server."""
    async with Proxy(make_url(server_url).port or 0) as opened:
        yield opened


def through(proxy: Proxy, url: str, options: str = HASTY) -> str:
    """Return the URL that connects through the proxy."""
    changed = make_url(url).set(host=HOST, port=proxy.port)
    return f"{changed.render_as_string(hide_password=False)}?{options}"


@asynccontextmanager
async def sync(url: str) -> AsyncIterator[Checkpointer]:
    """Open a synchronous checkpointer in a thread: the proxy needs the event loop."""
    opened = SyncCheckpointer(url)
    # A small machine's default has fewer threads than the pool has connections.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
    await asyncio.to_thread(opened.__enter__)
    try:
        yield cast("Checkpointer", EachInAThread(opened))
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


# How many seconds the server lets a statement wait for a lock.
LOCK_WAIT: Final = {
    "mysql": "SELECT @@innodb_lock_wait_timeout",
    "mariadb": "SELECT @@innodb_lock_wait_timeout",
    "postgresql": "SELECT EXTRACT(EPOCH FROM current_setting('lock_timeout')::interval)::int",
}

WAYS: Final = {"own": own, "sync": sync}


async def lengths(url: str) -> list[int]:
    """Return the seqs of the thread, without using the proxy."""
    async with Checkpointer(url) as checkpointer:
        return [stored.seq for stored in await checkpointer.read("t")]


@BOTH
@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "beyond-the-buffers"])
async def test_a_statement_that_is_not_answered(
    server_url: str, proxy: Proxy, way: str, size: int
) -> None:
    message = UserMessage(content=[TextContent(text="x" * size)])
    async with WAYS[way](through(proxy, server_url, ONCE)) as checkpointer:
        await checkpointer.append("t", [message])
        proxy.stall()
        with pytest.raises(StatementTimeoutError, match="timed out"):
            await checkpointer.append("t", [message])
        with pytest.raises(ConnectionLostError):
            await checkpointer.load("t")
        proxy.cut()
        proxy.resume()
        await checkpointer.append("t", [message])
    assert await lengths(server_url) == [1, 2]


@BOTH
async def test_a_server_that_accepts_and_says_nothing(
    server_url: str, proxy: Proxy, way: str
) -> None:
    """The limit to connect includes the log-in, which the drivers' own does not."""
    proxy.stall()
    with pytest.raises(ConnectionLostError, match=r"connect_timeout|timed out"):
        async with WAYS[way](through(proxy, server_url, ONCE)):
            pass
    proxy.resume()
    async with WAYS[way](through(proxy, server_url, ONCE)) as checkpointer:
        assert await checkpointer.list_threads() == []


async def test_the_limit_of_a_statement_is_named(server_url: str, proxy: Proxy) -> None:
    async with Checkpointer(through(proxy, server_url, ONCE)) as checkpointer:
        proxy.stall()
        with pytest.raises(StatementTimeoutError, match=r"1\.5 s \(read_timeout\)") as caught:
            await checkpointer.load("t")
        assert caught.value.__cause__ is not None
        assert caught.value.retryable
        proxy.cut()
        proxy.resume()


@BOTH
async def test_a_commit_that_is_not_answered(server_url: str, proxy: Proxy, way: str) -> None:
    """A batch is there wholly, once, or not at all, and the next call works.

    The COMMIT is delivered after the client has given up on it.
    """
    loop = asyncio.get_running_loop()
    async with WAYS[way](through(proxy, server_url)) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        stalled = threading.Event()

        def stall(connection: Any) -> None:
            if not stalled.is_set():
                stalled.set()
                if way == "own":
                    proxy.stall()
                else:
                    asyncio.run_coroutine_threadsafe(_call(proxy.stall), loop).result()
                loop.call_soon_threadsafe(loop.call_later, 2, proxy.resume)

        _on_commit(checkpointer, stall)
        try:
            await checkpointer.append("t", UserFactory.build_batch(2))
            outcomes = [[1, 2, 3]]
        except CommitOutcomeUnknownError:
            outcomes = [[1], [1, 2, 3]]
        assert stalled.is_set()
        await asyncio.sleep(2)
        found = [stored.seq for stored in await checkpointer.read("t")]
        assert found in outcomes
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == len(found) + 1


async def _call(function: Any) -> None:
    function()


def _on_commit(checkpointer: Any, listener: Any) -> None:
    inner = getattr(checkpointer, "_checkpointer", checkpointer)
    engine = inner.client.engine
    event.listen(getattr(engine, "sync_engine", engine), "commit", listener)


@BOTH
async def test_idle_connections_that_a_firewall_forgot(
    server_url: str, proxy: Proxy, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open connections are replaced before work is lost on them."""
    url = through(proxy, server_url, "connect_timeout=1&retry_seconds=0")
    async with WAYS[way](url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.load("t")
        monkeypatch.setattr("threadlog.databases.timeouts._IDLE_SECONDS", 0)
        proxy.forget()
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 2


async def test_a_connection_in_use_is_not_asked(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign of life costs only those that idled a round trip."""
    async with Checkpointer(mysql_url) as checkpointer:
        asked: list[object] = []

        def note(raw: Any) -> None:
            asked.append(raw)
            ping(raw)

        ping = time_limits._ping
        monkeypatch.setattr(time_limits, "_ping", note)
        for _ in range(3):
            await checkpointer.append("t", [UserFactory()])
        assert asked == []
        monkeypatch.setattr("threadlog.databases.timeouts._IDLE_SECONDS", 0)
        await checkpointer.append("t", [UserFactory()])
        assert len(asked) == 1


async def test_waiting_for_a_lock_is_not_broken_off_by_default(server_url: str) -> None:
    async with Checkpointer(server_url) as checkpointer:
        engine = engines_of(checkpointer)[0]
        async with AsyncEngine(engine).connect() as connection:
            waits = await connection.scalar(text(LOCK_WAIT[engine.dialect.name]))
        limit = cast("EngineClient", checkpointer.client).limits.statement
        assert limit is not None
        assert waits < limit


async def test_a_migration_takes_as_long_as_it_does(mysql_url: str) -> None:
    """Migrations, which may change gigabytes, have no limit for a statement."""
    engine = host_engine(mysql_url)
    async with engine.connect() as other:
        locked = asyncio.Event()

        async def hold() -> None:
            key = {"name": _lock_name(make_url(mysql_url))}
            assert await other.scalar(text("SELECT GET_LOCK(:name, 1)"), key) == 1
            locked.set()
            await asyncio.sleep(1)
            await other.execute(text("SELECT RELEASE_LOCK(:name)"), key)

        holding = asyncio.create_task(hold())
        await locked.wait()
        url = f"{mysql_url}?read_timeout=0.3"
        outcome = await migrating.upgrade(url, part="messages")
        assert outcome == {"messages": "unchanged"}
        await holding
    await engine.dispose()


@BOTH
async def test_waiting_for_a_connection_has_a_limit(server_url: str, way: str) -> None:
    engine = host_engine(server_url)
    url = f"{server_url}?pool_timeout=0.3"
    threads = [f"t{number}" for number in range(9)]
    async with WAYS["own"](server_url) as checkpointer:
        for thread_id in threads:
            await checkpointer.append(thread_id, [UserFactory()])
    async with engine.connect() as holder, WAYS[way](url) as checkpointer:
        await holder.execute(text("SELECT 1 FROM cubepi_threads FOR UPDATE"))
        appends = [asyncio.create_task(checkpointer.append(t, [UserFactory()])) for t in threads]
        done, waiting = await asyncio.wait(appends, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(PoolTimeoutError, match=r"max_pool_size.*pool_timeout") as caught:
            await done.pop()
        assert caught.value.__cause__ is not None
        while sum(append.done() for append in appends) < 2:  # of ten connections 7 write
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await holder.rollback()
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        # On a busy machine a connection may take longer than the limit to open.
        written = sum(isinstance(outcome, list) for outcome in outcomes)
        assert 1 <= written <= 7
        assert sum(isinstance(outcome, PoolTimeoutError) for outcome in outcomes) == 9 - written
        lengths = [len(await checkpointer.read(thread_id)) for thread_id in threads]
        assert sorted(lengths) == [1] * (9 - written) + [2] * written
    await engine.dispose()


async def test_an_sqlite_connection_has_the_limit_too(sqlite_url: str) -> None:
    async with Checkpointer(f"{sqlite_url}?pool_timeout=0.2") as checkpointer:
        pool = cast("EngineClient", checkpointer.client).writing
        assert pool is not None
        async with pool.slots:
            with pytest.raises(PoolTimeoutError, match="All 1 connections"):
                await checkpointer.load("t")
        assert await checkpointer.load("t") is None
        assert not any(pool.checkedout() for pool in pools_of(checkpointer))


@pytest.mark.parametrize("option", ["connect_timeout", "read_timeout", "pool_timeout"])
@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_limits_that_make_no_sense(option: str, value: str, scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Checkpointer(f"{scheme}://root@127.0.0.1/db?{option}={value}")


async def test_the_limit_of_a_hosts_pool_is_reported_with_advice(server_url: str) -> None:
    engine = host_engine(server_url, pool_size=1, max_overflow=0, pool_timeout=0.2)
    async with Checkpointer(engine=engine) as checkpointer, engine.connect():
        with pytest.raises(PoolTimeoutError):
            await checkpointer.load("t")
    await engine.dispose()
