"""MySQL and MariaDB, each behind URLs of either scheme, and what MariaDB alone does."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
from tests.support.databases import DATABASES, engine_for, on_connection, sent_by
from tests.support.factories import UserFactory
from tests.support.schemas import differences
from tests.support.ways import host_engine, sync_host_engine
from threadlog import (
    Checkpointer,
    MariaDBCheckpointer,
    MessageLog,
    MySQLCheckpointer,
    SyncCheckpointer,
)
from threadlog.errors import ConfigurationError, DeadlockError, UnsupportedServerError
from threadlog.langgraph import Saver
from threadlog.models import PARTS
from threadlog.schema.check import check_database
from threadlog.schema.migrate import upgrade

ONLY_MARIADB = pytest.mark.skipif(
    "mariadb" not in DATABASES, reason="THREADLOG_TEST_DATABASES leaves MariaDB out"
)
_WRITE_METADATA = text("UPDATE threadlog_checkpoints SET metadata = :written")
OTHER = {"mysql": "mariadb", "mariadb": "mysql"}
TITLES = {"mysql": "MySQL", "mariadb": "MariaDB"}


def with_other_scheme(url: str) -> str:
    """Write a URL as if its server were the other one."""
    scheme, rest = url.split("://")
    return f"{OTHER[scheme]}://{rest}"


async def works(checkpointer: MessageLog) -> None:
    """Run the operations whose statements differ."""
    await checkpointer.append("t", UserFactory.build_batch(2, metadata={"größe": 1}))
    for run_id in ("r", "R"):
        await checkpointer.claim_run("t", run_id)
        await checkpointer.append("t", [UserFactory(run_id=run_id)])
        await checkpointer.mark_run_complete("t", run_id)
    await checkpointer.save_extra("t", {"ü": [1]})
    await checkpointer.save_hitl_answer("t", "q", {"ja": True}, run_id="r")
    places = {run.run_id: run.completion_seq for run in await checkpointer.runs("t")}
    assert places == {"r": 1, "R": 2}
    data = await checkpointer.load("t", last=3)
    assert data is not None
    assert (len(data.messages), data.extra) == (3, {"ü": [1]})
    assert await checkpointer.load_hitl_answer("t", "q", run_id="r") == {"ja": True}


# --- URLs of either scheme -----------------------------------------------------------


async def test_a_url_of_the_other_scheme_works(innodb_url: str) -> None:
    """The server decides about the statements, not the URL."""
    url = with_other_scheme(innodb_url)
    async with Checkpointer(url) as checkpointer:
        assert f"Checkpointer {url.partition(':')[0]}://" in repr(checkpointer)
        await works(checkpointer)

    def without_asyncio() -> None:
        with SyncCheckpointer(url) as checkpointer:
            checkpointer.append("t", [UserFactory()])
            assert len(checkpointer.read("t")) == 5

    await asyncio.to_thread(without_asyncio)


async def test_checkpoints_are_found_whatever_the_scheme(innodb_graph_url: str) -> None:
    for url in (innodb_graph_url, with_other_scheme(innodb_graph_url)):
        async with Saver(url) as saver:
            metadata = metadata_of(user={"name": "Zoë", "tags": [1, "2"]})
            await saver.aput(config_for("t"), checkpoint_of({"a": 1}), metadata, {"a": "1"})
            wanted = {"user": {"tags": [1, "2"], "name": "Zoë"}}
            assert [found async for found in saver.alist(None, filter=wanted)] != []
            wanted = {"user": {"tags": ["2", 1], "name": "Zoë"}}
            assert [found async for found in saver.alist(None, filter=wanted)] == []


async def test_tables_are_made_and_checked_whatever_the_scheme(innodb_database: str) -> None:
    url = with_other_scheme(innodb_database)
    names = [part.name for part in PARTS]
    assert await upgrade(url) == dict.fromkeys(names, "created")
    for part in PARTS:
        assert await differences(innodb_database, part) == []
    assert await upgrade(innodb_database) == dict.fromkeys(names, "unchanged")
    for each in (url, innodb_database):
        findings = await check_database(each)
        assert {finding.status for finding in findings} == {"ok"}
        title = TITLES[innodb_database.partition(":")[0]]
        assert f"It is {title}, and new enough." in [finding.message for finding in findings]


@pytest.mark.parametrize("taken", [MySQLCheckpointer, MariaDBCheckpointer])
async def test_a_class_of_one_server_refuses_the_other(
    innodb_url: str, taken: type[MySQLCheckpointer] | type[MariaDBCheckpointer]
) -> None:
    """The server is asked, and what is said to use instead."""
    title = TITLES[innodb_url.partition(":")[0]]
    for url in (innodb_url, with_other_scheme(innodb_url)):
        if taken is MySQLCheckpointer and url.startswith("mariadb"):
            with pytest.raises(ConfigurationError, match="MySQLCheckpointer takes mysql://"):
                taken(url)
        elif taken.server == title:
            async with taken(url) as checkpointer:
                await works(checkpointer)
                await checkpointer.delete_thread("t")
        else:
            with pytest.raises(UnsupportedServerError, match="which accepts both") as caught:
                async with taken(url):
                    pass
            assert caught.value.found == title


async def test_a_hosts_engine_of_the_name_mysql_works(innodb_url: str) -> None:
    engine = create_async_engine(make_url(innodb_url).set(drivername="mysql+asyncmy"))
    async with Checkpointer(engine=engine) as checkpointer:
        await works(checkpointer)
        await checkpointer.delete_thread("t")
        async with AsyncSession(engine) as session:
            await works(checkpointer.bind(session))
            await session.commit()
    await engine.dispose()


def connected(engine: Engine) -> list[Any]:
    """Return a list to which the connections that an engine opens are added."""
    opened: list[Any] = []
    event.listen(engine, "connect", lambda connection, _: opened.append(connection), insert=True)
    return opened


async def test_a_hosts_engine_of_the_name_mariadb_on_mysql_is_refused(mysql_url: str) -> None:
    """SQLAlchemy's own refusal is told with what to write instead."""
    url = make_url(mysql_url)
    engine = create_async_engine(url.set(drivername="mariadb+asyncmy"))
    refused = connected(engine.sync_engine)
    with pytest.raises(ConfigurationError, match=r"begins with mariadb.*mysql\+asyncmy://"):
        async with Checkpointer(engine=engine):
            pass
    await engine.dispose()
    plain = sync_host_engine(with_other_scheme(mysql_url))
    refused += connected(plain)
    with pytest.raises(ConfigurationError, match="begins with mariadb"):
        SyncCheckpointer(engine=plain).__enter__()
    plain.dispose()
    for connection in refused:  # SQLAlchemy 2.0 leaves them to the collector
        connection.driver_connection.close()


# --- Reads behind a lock ---------------------------------------------------------------


@pytest.fixture
async def holder(innodb_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection, at READ COMMITTED."""
    engine = engine_for(innodb_url, isolation_level="READ COMMITTED")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def is_waited_for(url: str) -> None:
    """Wait until a statement waits for a row's lock.

    The server reads this table anew only if it was not read for 0.1 seconds:
    https://dev.mysql.com/doc/refman/8.4/en/innodb-information-schema-internal-data.html
    """
    waiting = text(
        "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    )

    def count(connection: Connection) -> int:
        return int(connection.scalar(waiting) or 0)

    while not await on_connection(url, count):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.2)


async def test_a_seq_is_allocated_behind_what_was_committed_meanwhile(
    innodb_url: str, holder: AsyncConnection
) -> None:
    """The look for it is not from before the wait, which a second try would hide."""
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        await holder.execute(text("SELECT * FROM cubepi_threads FOR UPDATE"))
        sent = sent_by(checkpointer)
        append = asyncio.create_task(checkpointer.append("t", [UserFactory(run_id="r")]))
        await is_waited_for(innodb_url)
        await holder.execute(
            text(
                "INSERT INTO cubepi_messages (thread_id, seq, role, payload) "
                "SELECT thread_id, 2, role, payload FROM cubepi_messages"
            )
        )
        await holder.commit()
        await append
        assert [message.seq for message in await checkpointer.read("t")] == [1, 2, 3]
        assert sum("INSERT INTO cubepi_messages" in statement for statement in sent) == 1


async def test_a_place_is_given_behind_what_was_committed_meanwhile(
    innodb_url: str, holder: AsyncConnection
) -> None:
    async with Checkpointer(innodb_url) as checkpointer:
        for run_id in ("r1", "r2"):
            await checkpointer.claim_run("t", run_id)
        await holder.execute(text("SELECT * FROM cubepi_threads FOR UPDATE"))
        complete = asyncio.create_task(checkpointer.mark_run_complete("t", "r2"))
        await is_waited_for(innodb_url)
        await holder.execute(
            text(
                "UPDATE cubepi_runs SET completed_at = NOW(), completion_seq = 1 "
                "WHERE run_id = 'r1'"
            )
        )
        await holder.commit()
        await complete
        places = {run.run_id: run.completion_seq for run in await checkpointer.runs("t")}
        assert places == {"r1": 1, "r2": 2}


async def test_json_is_compared_however_it_is_escaped(innodb_graph_url: str) -> None:
    value = {"größe": ["Zoë", "1", {"日": [1.5, True, None]}], "1": 2**60 + 1}
    async with Saver(innodb_graph_url) as saver:
        await saver.aput(config_for("t"), checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
        for escaped in (True, False):
            written = json.dumps({"ключ": value, "step": 0}, ensure_ascii=escaped)
            await on_connection(
                innodb_graph_url,
                lambda c: c.execute(_WRITE_METADATA, {"written": written}) and None,  # noqa: B023 - awaited here
            )
            found = [each async for each in saver.alist(None, filter={"ключ": value})]
            assert len(found) == 1
            for other in (
                {**value, "1": 2**60},
                {**value, "größe": ["Zoë", 1, {"日": [1.5, True, None]}]},
                {**value, "größe": ["zoë", "1", {"日": [1.5, True, None]}]},
                {**value, "größe": ["Zoë", "1", {"日": [1.5, 1, None]}]},
                {**value, "größe": ["Zoë", "1", {"日": [1.5, True, None], "": 1}]},
            ):
                assert [each async for each in saver.alist(None, filter={"ключ": other})] == []


# --- MariaDB alone ---------------------------------------------------------------------


def snapshots_that_refuse(url: str) -> AsyncEngine:
    """Create an application's engine at the default level of MariaDB 11.6 and later."""
    command = "SET SESSION innodb_snapshot_isolation = ON"
    return host_engine(
        url, isolation_level="REPEATABLE READ", connect_args={"init_command": command}
    )


@ONLY_MARIADB
async def test_what_changed_since_it_was_read_is_a_deadlock(mariadb_url: str) -> None:
    engine = snapshots_that_refuse(mariadb_url)
    async with Checkpointer(mariadb_url) as other, Checkpointer(engine=engine) as checkpointer:
        await other.append("t", [UserFactory()])
        async with AsyncSession(engine) as session:
            bound = checkpointer.bind(session)
            assert len(await bound.read("t")) == 1
            await other.append("t", [UserFactory()])
            with pytest.raises(DeadlockError, match="1020") as caught:
                await bound.append("t", [UserFactory()])
            assert caught.value.retryable
            await session.rollback()
            await bound.append("t", [UserFactory()])
            await session.commit()
        assert [message.seq for message in await other.read("t")] == [1, 2, 3]
    await engine.dispose()


@ONLY_MARIADB
async def test_first_writers_at_the_default_level_of_new_releases(mariadb_url: str) -> None:
    """Units on an application's engine without a snapshot of their own need no second attempt."""
    engine = snapshots_that_refuse(mariadb_url)
    async with Checkpointer(engine=engine) as checkpointer:
        for number in range(5):
            appends = [checkpointer.append(f"t{number}", [UserFactory()]) for _ in range(8)]
            await asyncio.gather(*appends)
            assert len(await checkpointer.read(f"t{number}")) == 8
    await engine.dispose()
