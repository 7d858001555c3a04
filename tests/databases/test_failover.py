"""Which of several servers is written to, and what happens when one stops taking writes.

Real servers that fail over are in tests/nodes; here one real server says what those would say.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from tests.databases.test_privileges import account
from tests.support.databases import engines_of, on_connection
from tests.support.factories import UserFactory
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.databases.mysql import failover as primary
from threadlog.databases.mysql.failover import follow_primary, reason_against_writing
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    ConnectionFailedError,
    NoPrimaryError,
    ServerUnreachableError,
)
from threadlog.runtime import transactions as store

READ_ONLY = "The MySQL server is running with the --super-read-only option"


def signal(code: int, text: str = READ_ONLY) -> str:
    """Write the statement that has the server raise an error."""
    return f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = '{text}'"


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Yield a port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def listed(url: str, *addresses: str) -> str:
    """Return a URL with its hosts replaced by these addresses."""
    head, _, rest = url.rpartition("@")
    return f"{head}@{','.join(addresses)}/{rest.partition('/')[2]}"


def address(url: str) -> str:
    """Return the host and port of a URL."""
    return url.rpartition("@")[2].partition("/")[0]


@pytest.fixture
def several(mysql_url: str, dead_port: int) -> str:
    """Return a URL with a dead host and the real one."""
    return listed(mysql_url, f"127.0.0.1:{dead_port}", address(mysql_url))


async def test_a_dead_host_is_passed_over(several: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Checkpointer(several) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 1
    with SyncCheckpointer(several) as plain:
        plain.append("t", [UserFactory()])
        assert len(plain.read("t")) == 2
    assert f"Connected to {address(several).partition(',')[2]}, as others failed" in caplog.text


async def test_one_host_is_asked_nothing(mysql_url: str) -> None:
    """Who has one server pays nothing for those who have several."""
    async with Checkpointer(mysql_url) as checkpointer:
        for engine in engines_of(checkpointer):
            assert not list(engine.dialect.dispatch.do_connect)


async def test_an_engine_of_a_host_follows_too(several: str) -> None:
    url = parse_url(several)  # as SQLAlchemy writes several hosts
    url = url.set(query={**url.query, "charset": "utf8mb4"})
    engine = create_async_engine(url.set(drivername="mysql+asyncmy"))
    follow_primary(engine)
    async with Checkpointer(engine=engine) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
    await engine.dispose()
    plain = create_engine(url.set(drivername="mysql+pymysql"))
    follow_primary(plain)
    with SyncCheckpointer(engine=plain) as sync:
        assert len(sync.read("t")) == 1
    plain.dispose()


async def test_servers_that_are_all_away_are_unreachable(dead_port: int) -> None:
    url = f"mysql://root@127.0.0.1:{dead_port},localhost:{dead_port}/db?retry_seconds=0.1"
    match = rf"127.0.0.1:{dead_port}: 2003.*; localhost:.*, after retrying"
    with pytest.raises(ServerUnreachableError, match=match):
        async with Checkpointer(url):
            pass


async def test_connect_with_a_wrong_password_raises_without_election_wait(mysql_url: str) -> None:
    """Waiting for an election is not tried against it."""
    wrong = make_url(mysql_url).set(password="wrong")  # noqa: S106 - it is none
    here = address(mysql_url)
    both = listed(wrong.render_as_string(hide_password=False), here, f"localhost:{wrong.port}")
    with pytest.raises(ConnectionFailedError, match="1045"):
        async with Checkpointer(both):
            pass


async def test_an_election_is_waited_for(several: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation tries the hosts more often than other errors are retried."""
    monkeypatch.setattr(store, "_BETWEEN_LOOKS", (0.0, 0.01))
    async with Checkpointer(several, min_pool_size=0) as checkpointer:
        for engine in engines_of(checkpointer):
            await AsyncEngine(engine).dispose()
        answers = iter([1] * 15)

        def examine(dialect: object, cursor: object) -> None:
            if next(answers, 0):
                raise primary._NotPrimaryError("read-only")

        monkeypatch.setattr(primary, "_check_writable", examine)
        await checkpointer.append("t", [UserFactory()])
        assert next(answers, 0) == 0
        assert [stored.seq for stored in await checkpointer.read("t")] == [1]


async def test_an_election_without_end_is_an_error(
    several: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primary, "_READ_ONLY", "SELECT 1")
    with pytest.raises(NoPrimaryError, match=r":\d+: 2003") as caught:
        async with Checkpointer(several, retry_seconds=0.1):
            pass
    assert f"{address(several.replace(',', '@'))}: read-only" in str(caught.value)
    assert caught.value.retryable


def test_an_account_that_may_not_see_the_group_may_write(mysql_url: str, dead_port: int) -> None:
    """A missing privilege is no reason to refuse a server."""
    with account(mysql_url, "SELECT, INSERT, UPDATE, DELETE") as limited:
        url = listed(limited, f"127.0.0.1:{dead_port}", address(limited))
        with SyncCheckpointer(url) as checkpointer:
            checkpointer.append("t", [UserFactory()])
            assert [each.seq for each in checkpointer.read("t")] == [1]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([], None),
        ([(1, "ONLINE", "PRIMARY"), (0, "ONLINE", "SECONDARY"), (0, "UNREACHABLE", "")], None),
        ([(1, "ONLINE", "PRIMARY"), (0, "RECOVERING", "SECONDARY")], None),
        ([(1, "ONLINE", "PRIMARY"), (0, "ONLINE", "PRIMARY")], None),
        ([(1, "ONLINE", "SECONDARY"), (0, "ONLINE", "PRIMARY")], "not the primary"),
        ([(1, "OFFLINE", "")], "OFFLINE"),
        ([(1, "ERROR", ""), (0, "ONLINE", "PRIMARY")], "ERROR"),
        ([(1, "ONLINE", "PRIMARY"), (0, "UNREACHABLE", "")], "no majority"),
    ],
)
def test_members_of_a_group_are_distinguished(
    members: Sequence[tuple[int, str, str]], reason: str | None
) -> None:
    found = reason_against_writing(members)
    assert (reason is None) == (found is None)
    assert reason is None or reason in str(found)


class Connections:
    """Notes on which connections an engine begins transactions; the first of them fails."""

    def __init__(self, engine: Engine, statement: str) -> None:
        """Arrange one error of the server after the transaction has begun."""
        self.ids: list[int] = []
        self._statement = statement
        event.listen(engine, "begin", self._note)

    def _note(self, connection: Connection) -> None:
        self.ids.append(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
        if len(self.ids) == 1:
            connection.exec_driver_sql(self._statement)


@pytest.mark.parametrize("code", [1290, 1836, 3100, 3797])
async def test_a_server_that_became_read_only_is_left(mysql_url: str, code: int) -> None:
    """The unit of work is run again, and not on a connection of before."""
    async with Checkpointer(mysql_url) as checkpointer:
        await asyncio.gather(*(checkpointer.append(f"u{n}", [UserFactory()]) for n in range(5)))
        engine = engines_of(checkpointer)[0]
        query = "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
        before = await on_connection(mysql_url, lambda c: c.exec_driver_sql(query).scalars().all())
        connections = Connections(engine, signal(code))
        await checkpointer.append("t", UserFactory.build_batch(2))
        assert [stored.seq for stored in await checkpointer.read("t")] == [1, 2]
        first, second = connections.ids
        assert first in before
        assert second not in before


async def test_a_commit_that_is_refused_is_run_again(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1290 in COMMIT is no unknown outcome: the server says that nothing was written."""
    async with Checkpointer(mysql_url) as checkpointer:
        fail_first_commit(engines_of(checkpointer)[0], monkeypatch, signal(1290))
        await checkpointer.append("t", UserFactory.build_batch(2))
        assert [stored.seq for stored in await checkpointer.read("t")] == [1, 2]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_commit_that_the_group_may_have_is_not_run_again_blindly(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch, *, stored: bool
) -> None:
    async with Checkpointer(mysql_url) as checkpointer:
        engine = engines_of(checkpointer)[0]
        fail_first_commit(engine, monkeypatch, signal(3100), stored=stored)
        await checkpointer.append("t", UserFactory.build_batch(2))
        assert [one.seq for one in await checkpointer.read("t")] == [1, 2]


def fail_first_commit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, statement: str, *, stored: bool = False
) -> None:
    """Raise the server's error once, for a COMMIT that is executed or rolled back."""
    commit = engine.dialect.do_commit
    failed: list[PoolProxiedConnection] = []

    def do_commit(connection: PoolProxiedConnection) -> None:
        if failed:
            commit(connection)
            return
        failed.append(connection)
        (connection.commit if stored else connection.rollback)()
        cursor = connection.cursor()
        cursor.execute(statement)

    monkeypatch.setattr(engine.dialect, "do_commit", do_commit)
