"""A server that is away for some seconds, or refuses: who waits for it, and for how long."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Final
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from tests.chaos.stage import Server, chaos_server
from tests.databases.test_timeouts import WAYS, lengths, through
from tests.support.databases import (
    ASYNCHRONOUS,
    SYNCHRONOUS,
    create_database,
    create_schema,
    engine_for,
    execute,
    on_connection,
)
from tests.support.factories import UserFactory
from tests.support.patience import PATIENCE_SECONDS, patience, until
from tests.support.seeds import FRESH
from tests.support.servers.products import PRODUCTS
from tests.support.servers.proxy import Proxy
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.databases.timeouts import TimeLimits
from threadlog.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    ServerUnreachableError,
    StorageError,
    TooManyConnectionsError,
)
from threadlog.langgraph import Saver
from threadlog.models import GRAPH, METADATA
from threadlog.persistence import MetadataStore
from threadlog.runtime import client, transactions
from threadlog.runtime.transactions import OwnedRunner
from threadlog.schema.check import check_database

AWAY_SECONDS: Final = {"mysql": 10.0, "mariadb": 3.0, "postgres": 3.0}
"""How long a killed server is away at least: thrice as long as ten quick attempts took."""

# A busy machine may take long to start the server again.
WAITS: Final[dict[str, Any]] = {"retry_seconds": PATIENCE_SECONDS}
BOTH = pytest.mark.parametrize("way", ["own", "sync"])


@pytest.fixture
def mortal(server_name: str) -> Iterator[Server]:
    """Run a server that may be killed, and is started again after some seconds."""
    away = AWAY_SECONDS[server_name]
    with chaos_server(PRODUCTS[server_name], away_seconds=away) as server:
        yield server


@pytest.fixture
async def proxy(server_url: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of the server."""
    async with Proxy(make_url(server_url).port or 0) as opened:
        yield opened


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the moments at which a unit of work was attempted."""
    times: list[float] = []
    attempt = OwnedRunner._attempt

    def note(self: OwnedRunner, *args: Any, **kwargs: Any) -> Any:
        times.append(time.monotonic())
        return attempt(self, *args, **kwargs)

    monkeypatch.setattr(OwnedRunner, "_attempt", note)
    return times


class Writers:
    """Tasks and threads that write until they are told to stop, and count what was acknowledged."""

    def __init__(self) -> None:
        """Create without a writer."""
        self.acknowledged: dict[str, list[int]] = {}
        self.longest = 0.0
        self._stopped = threading.Event()
        self._running: list[asyncio.Future[None]] = []
        self._dice = random.Random(FRESH)

    def start(self, name: str, write: Callable[[int], Any]) -> None:
        """Start a task, or a thread if `write` is not asynchronous."""
        done = self.acknowledged[name] = []
        dice = random.Random(self._dice.random())
        if asyncio.iscoroutinefunction(write):
            work = self._write(done, write, dice)
        else:
            work = asyncio.to_thread(self._write_in_thread, done, write, dice)
        self._running.append(asyncio.ensure_future(work))

    async def _write(self, done: list[int], write: Any, dice: random.Random) -> None:
        for number in count(1):
            begun = time.monotonic()
            await write(number)
            self._note(done, number, begun)
            if self._stopped.is_set():
                return
            await asyncio.sleep(dice.random() * 0.02)

    def _write_in_thread(self, done: list[int], write: Any, dice: random.Random) -> None:
        for number in count(1):
            begun = time.monotonic()
            write(number)
            self._note(done, number, begun)
            if self._stopped.wait(dice.random() * 0.02):
                return

    def _note(self, done: list[int], number: int, begun: float) -> None:
        done.append(number)
        self.longest = max(self.longest, time.monotonic() - begun)

    async def progress(self) -> None:
        """Wait until each writer has stored ten more, or one has failed."""
        before = {name: len(done) for name, done in self.acknowledged.items()}

        async def written() -> bool:
            failed = any(running.done() for running in self._running)
            return failed or all(
                len(done) >= before[name] + 10 for name, done in self.acknowledged.items()
            )

        await until(written)

    async def stop(self) -> None:
        """Stop all, and raise what one of them raised."""
        self._stopped.set()
        async with patience():
            await asyncio.gather(*self._running)


async def graph_database(server: Server) -> str:
    """Create a database with the tables of the log and of graphs; return its URL."""
    url = await create_database(server.url, "threadlog")
    for part in (GRAPH, METADATA):
        await on_connection(url, partial(create_schema, part=part))
    return url.render_as_string(hide_password=False)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writers]:
    """Write with every facade: appends to threads of their own and to a shared one, and puts."""
    plain = make_url(url)
    name = plain.get_backend_name()
    engine = create_async_engine(plain.set(drivername=ASYNCHRONOUS[name]))
    plain_engine = create_engine(plain.set(drivername=SYNCHRONOUS[name]))
    writers = Writers()
    async with (
        Checkpointer(f"{url}?retry_seconds={PATIENCE_SECONDS}", max_pool_size=4) as own,
        Checkpointer(engine=engine, **WAITS) as external,
        Saver(url, **WAITS) as saver,
    ):
        with (
            SyncCheckpointer(url, **WAITS) as sync,
            SyncCheckpointer(engine=plain_engine, **WAITS) as sync_external,
        ):
            for number in range(6):
                writers.start(f"own{number}", appending(own, f"own{number}"))
            for number in range(3):
                writers.start(f"shared{number}", appending(own, "shared", f"shared{number}"))
            writers.start("engine", appending(external, "engine"))
            writers.start("sync", appending_in_thread(sync, "sync"))
            writers.start("sync_engine", appending_in_thread(sync_external, "sync_engine"))
            writers.start("saver", putting(saver, "saver"))
            yield writers
    await engine.dispose()
    plain_engine.dispose()


def appending(
    checkpointer: Checkpointer, thread_id: str, writer: str | None = None
) -> Callable[[int], Any]:
    """Return what appends a message of a number."""

    async def append(number: int) -> None:
        metadata = {"writer": writer or thread_id, "number": number}
        await checkpointer.append(thread_id, [UserFactory(metadata=metadata)])

    return append


def appending_in_thread(checkpointer: SyncCheckpointer, thread_id: str) -> Callable[[int], None]:
    """Return what does the same without asyncio."""

    def append(number: int) -> None:
        metadata = {"writer": thread_id, "number": number}
        checkpointer.append(thread_id, [UserFactory(metadata=metadata)])

    return append


def putting(saver: Saver, thread_id: str) -> Callable[[int], Any]:
    """Return what puts a checkpoint of a number."""

    async def put(number: int) -> None:
        config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        checkpoint = empty_checkpoint()
        checkpoint["id"] = f"{number:08}"
        await saver.aput(config, checkpoint, {"step": number}, {})

    return put


async def stored(url: str) -> dict[str, list[int]]:
    """Return the numbers of each writer, in the order of their seq."""
    found: dict[str, list[int]] = {}
    async with Checkpointer(url) as checkpointer, Saver(url) as saver:
        for thread in await checkpointer.list_threads():
            for each in await checkpointer.read(thread.thread_id):
                metadata: dict[str, Any] = each.message.metadata
                found.setdefault(metadata["writer"], []).append(metadata["number"])
        config: Any = {"configurable": {"thread_id": "saver"}}
        ids = [each.checkpoint["id"] async for each in saver.alist(config)]
        found["saver"] = [int(each) for each in reversed(ids)]
    return found


@pytest.mark.processes
async def test_writers_of_a_server_that_is_killed_lose_and_double_nothing(mortal: Server) -> None:
    url = await graph_database(mortal)
    async with writing(url) as writers:
        await writers.progress()
        begun = time.monotonic()
        await mortal.kill()
        away = time.monotonic() - begun
        await writers.progress()
        await writers.stop()
        longest = writers.longest
    assert await stored(url) == writers.acknowledged
    total = sum(map(len, writers.acknowledged.values()))
    print(
        f"seed {FRESH}: {total} writes of {len(writers.acknowledged)} writers, server away for "
        f"{away:.1f} s, the longest write took {longest:.1f} s"
    )
    assert longest >= AWAY_SECONDS[mortal.product.name]


@pytest.mark.processes
async def test_facades_that_are_opened_while_the_server_is_away_wait_for_it(
    mortal: Server,
) -> None:
    url = await graph_database(mortal)
    killing = asyncio.create_task(mortal.kill())

    async def is_away() -> bool:
        try:
            await execute(url, "SELECT 1")
        except Exception:  # noqa: BLE001 - whatever a driver raises
            return True
        return False

    def open_sync() -> None:
        with SyncCheckpointer(url, **WAITS) as checkpointer:
            checkpointer.append("sync", [UserFactory()])

    async def open_own() -> None:
        async with Checkpointer(f"{url}?retry_seconds={PATIENCE_SECONDS}") as checkpointer:
            await checkpointer.append("own", [UserFactory()])

    async def open_saver() -> None:
        async with Saver(url, **WAITS) as saver:
            assert await saver.aget_tuple({"configurable": {"thread_id": "t"}}) is None

    async def open_store() -> None:
        async with MetadataStore(url, **WAITS) as store:
            assert await store.fetch_thread_row(str(uuid4())) is None

    await until(is_away)
    async with patience():
        opening = [open_own(), open_saver(), open_store(), asyncio.to_thread(open_sync)]
        await asyncio.gather(killing, *opening)
    async with Checkpointer(url) as checkpointer:
        found = {each.thread_id for each in await checkpointer.list_threads()}
    assert found == {"own", "sync"}


@BOTH
async def test_server_that_does_not_answer_is_attempted_once_with_retry_of_zero(
    server_name: str, unused_tcp_port: int, attempts: list[float], way: str
) -> None:
    product = PRODUCTS[server_name]
    url = f"{product.url(unused_tcp_port)}db?retry_seconds=0"
    with pytest.raises(ServerUnreachableError, match="server did not answer") as caught:
        async with WAYS[way](url):
            pass
    assert "after retrying" not in str(caught.value)
    assert len(attempts) == 1


@BOTH
async def test_server_that_does_not_answer_is_attempted_for_the_time_of_the_url(
    server_name: str, unused_tcp_port: int, attempts: list[float], way: str
) -> None:
    product = PRODUCTS[server_name]
    url = f"{product.url(unused_tcp_port)}db?retry_seconds=1.5"
    with pytest.raises(ServerUnreachableError, match=r"after retrying for [\d.]+ seconds\. The"):
        async with WAYS[way](url):
            pass
    assert attempts[-1] - attempts[0] >= 1.4
    assert len(attempts) > 2


@BOTH
async def test_unknown_host_is_a_server_that_does_not_answer(server_name: str, way: str) -> None:
    url = make_url(PRODUCTS[server_name].url(1)).set(host="no-such-host.invalid", database="db")
    shown = url.render_as_string(hide_password=False)
    with pytest.raises(ServerUnreachableError, match="host and port in the URL"):
        async with WAYS[way](f"{shown}?retry_seconds=0"):
            pass


@BOTH
@pytest.mark.parametrize("wrong", ["account", "database"])
async def test_server_that_refuses_is_attempted_once(
    server_url: str, attempts: list[float], way: str, wrong: str
) -> None:
    async with account_of(server_url) as url:
        parsed = make_url(url)
        if wrong == "database":
            parsed = parsed.set(database="no_such_database")
        elif server_url.startswith("postgresql"):  # the tests' server asks for no password
            parsed = parsed.set(username="no_such_account")
        else:
            parsed = parsed.set(password="wrong")  # noqa: S106 - it is none
        refused = parsed.render_as_string(hide_password=False)
        attempts.clear()
        with pytest.raises(ConnectionFailedError) as caught:
            async with WAYS[way](refused):
                pass
    assert len(attempts) == 1
    assert not caught.value.retryable


@BOTH
async def test_too_many_connections_are_waited_for(
    server_url: str, attempts: list[float], way: str
) -> None:
    async with account_of(server_url, connections=1) as url:
        holder = engine_for(url)
        async with holder.connect() as held:
            with pytest.raises(TooManyConnectionsError, match="no free connection"):
                async with WAYS[way](f"{url}?retry_seconds=0"):
                    pass
            (result,) = await check_database(url)
            assert "no free connection" in result.message
            attempts.clear()
            waiting = f"{url}?retry_seconds={PATIENCE_SECONDS}"
            opening = asyncio.create_task(used(waiting, way))

            async def attempted() -> bool:
                return len(attempts) > 2 or opening.done()

            await until(attempted)
            assert not opening.done()
            await held.close()
            await holder.dispose()
            async with patience():
                await opening


async def test_connections_of_the_start_are_waited_for(server_url: str) -> None:
    """The first one verifies the schema, the others only fill the pool."""
    async with account_of(server_url, connections=1) as url:
        name = make_url(url).username
        waiting = f"{url}?retry_seconds={PATIENCE_SECONDS}"
        opening = asyncio.create_task(entered(waiting))
        await until(async_true(lambda: pausing() == 1 or opening.done()))
        assert not opening.done()
        await execute(
            server_url,
            f"ALTER ROLE {name} CONNECTION LIMIT 20"
            if server_url.startswith("postgresql")
            else f"ALTER USER '{name}'@'%' WITH MAX_USER_CONNECTIONS 20",
        )
        async with patience():
            await opening


async def entered(url: str) -> None:
    """Open a checkpointer with three connections at the start."""
    async with Checkpointer(url, min_pool_size=3):
        pass


async def used(url: str, way: str) -> None:
    """Open a checkpointer of one connection, and read with it."""
    kind: Any = {"own": Checkpointer, "sync": SyncCheckpointer}[way]
    opened = kind(url, min_pool_size=0, max_pool_size=1)
    if way == "own":
        async with opened:
            assert await opened.list_threads() == []
    else:

        def use() -> None:
            with opened:
                assert opened.list_threads() == []

        await asyncio.to_thread(use)


@asynccontextmanager
async def account_of(url: str, *, connections: int | None = None) -> AsyncIterator[str]:
    """Create an account with a password, which may read and write; yield the URL with it."""
    name, password = f"tl_{uuid4().hex[:12]}", uuid4().hex
    database = make_url(url).database
    if url.startswith("postgresql"):
        limit = "" if connections is None else f"CONNECTION LIMIT {connections}"
        create = (
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {limit}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        )
        drop = (f"DROP OWNED BY {name}", f"DROP ROLE {name}")
    else:
        limit = "" if connections is None else f"WITH MAX_USER_CONNECTIONS {connections}"
        create = (
            f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}' {limit}",
            f"GRANT ALL ON {database}.* TO '{name}'@'%'",
        )
        drop = (f"DROP USER '{name}'@'%'", "SELECT 1")
    await execute(url, *create)
    try:
        yield (
            make_url(url)
            .set(username=name, password=password)
            .render_as_string(hide_password=False)
        )
    finally:
        await execute(url, *drop)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pauses and the grace of a cancelled call longer than any test waits."""
    monkeypatch.setattr(transactions, "_FIRST_PAUSE", 1e7)
    monkeypatch.setattr(transactions, "_LONGEST_PAUSE", 1e7)
    monkeypatch.setattr(client, "GRACE_SECONDS", 1e7)
    monkeypatch.setattr("threadlog.runtime.batcher.GRACE_SECONDS", 1e7)


def pausing() -> int:
    """Return how many tasks wait between two attempts."""
    return len(client.pausing)


@pytest.mark.parametrize("callers", [1, 2])
async def test_cancelled_call_ends_in_the_pause_between_attempts(
    server_url: str, proxy: Proxy, endless: None, callers: int
) -> None:
    url = through(proxy, server_url, "retry_seconds=1e7")
    async with Checkpointer(url, max_pool_size=2) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        proxy.take_away()
        calls = [checkpointer.append("t", [UserFactory()]) for _ in range(callers)]
        tasks = [asyncio.create_task(call) for call in [*calls, checkpointer.load("t")]]
        await until(async_true(lambda: pausing() == 2))
        for task in tasks:
            task.cancel()
        async with patience():
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [asyncio.CancelledError] * len(tasks)
        assert pausing() == 0
    assert await lengths(server_url) == [1]


async def test_cancelled_call_whose_attempt_fails_makes_no_other(
    server_url: str, proxy: Proxy, endless: None
) -> None:
    """The attempt that runs has its grace, and is the last."""
    url = through(proxy, server_url, "retry_seconds=1e7")
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        proxy.stall()
        task = asyncio.create_task(checkpointer.append("t", [UserFactory()]))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0)
        proxy.take_away()
        proxy.resume()
        async with patience():
            with pytest.raises(asyncio.CancelledError):
                await task
    assert await lengths(server_url) == [1]


async def test_cancelled_append_of_a_batch_is_left_out_of_later_attempts(
    server_url: str, proxy: Proxy, attempts: list[float]
) -> None:
    url = through(proxy, server_url, f"retry_seconds={PATIENCE_SECONDS}")
    async with Checkpointer(url, max_pool_size=1) as checkpointer:
        for thread_id in "abc":
            await checkpointer.append(thread_id, [UserFactory()])
        proxy.take_away()
        first, second, third = (
            asyncio.create_task(checkpointer.append(thread_id, [UserFactory()]))
            for thread_id in "abc"
        )
        await until(async_true(lambda: pausing() == 1))
        first.cancel()  # the others have waited for its connection, and are a batch
        await asyncio.wait({first})
        attempts.clear()
        await until(async_true(lambda: len(attempts) > 2))
        second.cancel()
        await asyncio.wait({second})
        assert not third.done()
        proxy.bring_back()
        async with patience():
            await third
    async with Checkpointer(server_url) as checkpointer:
        stored = {each.thread_id: each.last_seq for each in await checkpointer.list_threads()}
    assert stored == {"a": 1, "b": 1, "c": 2}
    assert (first.cancelled(), second.cancelled()) == (True, True)


@BOTH
async def test_closing_ends_the_pause_between_attempts(
    server_url: str, proxy: Proxy, attempts: list[float], way: str
) -> None:
    opened: dict[str, Any] = {"own": Checkpointer, "sync": WAYS["sync"]}
    async with opened[way](through(proxy, server_url, "retry_seconds=1e7")) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        proxy.take_away()
        attempts.clear()
        calls = [checkpointer.append("t", [UserFactory()]), checkpointer.load("t")]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await until(async_true(lambda: len(attempts) > 4))
    async with patience():
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, ConnectionLostError) for each in outcomes), outcomes
    assert all("after retrying for" in str(each) for each in outcomes)


def async_true(condition: Callable[[], bool]) -> Any:
    """Return a condition for `until`."""

    async def true() -> bool:
        return condition()

    return true


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "1e9"])
def test_retry_seconds_that_are_no_time_are_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"retry_seconds.*number of seconds or 0"):
        Checkpointer(f"mysql://root@127.0.0.1/db?retry_seconds={value}")
    makers: list[Callable[..., object]] = [Checkpointer, SyncCheckpointer, Saver, MetadataStore]
    for make in makers:
        with pytest.raises(ConfigurationError, match=r"retry_seconds.*number of seconds or 0"):
            make("mysql://root@127.0.0.1/db", retry_seconds=value)


def test_retry_seconds_of_the_argument_come_before_those_of_the_url() -> None:
    url = "mysql://root@127.0.0.1/db"
    cases: list[tuple[str, dict[str, Any], float]] = [
        (url, {}, 30),
        (f"{url}?retry_seconds=5", {}, 5),
        (f"{url}?retry_seconds=5", {"retry_seconds": 0}, 0),
        ("sqlite://?retry_seconds=5", {}, 5),
    ]
    for given, options, seconds in cases:
        opened: Any = Checkpointer(given, **options).client
        assert opened.retry_seconds == seconds
    assert TimeLimits().retry == 30


def test_errors_of_servers_that_do_not_answer_are_retryable() -> None:
    kinds: list[type[StorageError]] = [ServerUnreachableError, TooManyConnectionsError]
    assert all(kind.retryable and issubclass(kind, ConnectionLostError) for kind in kinds)
