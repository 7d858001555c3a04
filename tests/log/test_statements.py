"""The statements that the server receives, counted by the server itself.

PostgreSQL receives a BEGIN, and locks a thread before its end is read, but for a few messages; it
counts each row of an INSERT of many, which the driver sends all together.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.counting import StatementCount
from tests.support.databases import engine_for, engines_of, on_connection, pools_of, sent_by
from tests.support.factories import UserFactory
from tests.support.patience import until
from tests.support.plans import analyze, recorded, rows_read
from threadlog import Checkpointer
from threadlog.databases.base import DatabaseFacts, PoolSize
from threadlog.databases.mysql.database import MySQLBackend


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on a server with a thread that was just written to."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3))
        yield checkpointer


async def make_old(url: str) -> None:
    """Set every thread's last activity to long ago."""
    statement = text("UPDATE cubepi_threads SET updated_at = '2026-01-01'")
    await on_connection(url, lambda c: c.execute(statement) and None)


async def test_appending(opened: Checkpointer, count: StatementCount) -> None:
    for number, mysql, postgresql in ((1, 2, 3), (8, 2, 3), (40, 3, 44)):

        async def append(number: int = number) -> None:
            await opened.append("t", UserFactory.build_batch(number))

        await append()  # brings updated_at to this second
        figure = count.figure(mysql, mariadb=3, postgresql=postgresql)
        assert await count.of(append) == figure


async def test_appending_in_a_new_second(
    opened: Checkpointer, count: StatementCount, server_url: str
) -> None:
    counts = []
    for _ in range(3):
        await make_old(server_url)
        before = await count.questions()
        await opened.append("t", [UserFactory()])
        counts.append(await count.questions() - before - 1)
    assert min(counts) == count.figure(3, mariadb=4, postgresql=4)


async def test_appending_to_a_new_thread(opened: Checkpointer, count: StatementCount) -> None:
    names = iter(["a", "b", "c"])
    figure = count.figure(5, postgresql=6)
    assert await count.of(lambda: opened.append(next(names), [UserFactory()])) == figure


async def test_load_is_one_statement(opened: Checkpointer, count: StatementCount) -> None:
    assert await count.of(lambda: opened.load("t")) == 1
    assert await count.of(lambda: opened.load("t", last=2)) == 1
    assert await count.of(lambda: opened.read("t", limit=2)) == 1


async def test_loading_without_reading_connections(server_url: str, count: StatementCount) -> None:
    """Two connections, both for writing, end a read's transaction too."""
    async with Checkpointer(server_url, max_pool_size=2) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        assert await count.of(lambda: checkpointer.load("t")) == count.figure(2, postgresql=3)


async def test_saving_extra(opened: Checkpointer, count: StatementCount) -> None:
    values = itertools.count()
    figure = count.figure(3, postgresql=4)
    assert await count.of(lambda: opened.save_extra("t", {"a": next(values)})) == figure


async def test_saving_extra_that_is_stored_changes_nothing(
    opened: Checkpointer, count: StatementCount
) -> None:
    await opened.save_extra("t", {"a": 1, "b": None})
    sent = sent_by(opened)
    figure = count.figure(2, postgresql=3)
    assert await count.of(lambda: opened.save_extra("t", {"a": 1})) == figure
    assert not [statement for statement in sent if statement.startswith("UPDATE")]


async def test_removing_a_question_that_is_not_there_does_not_commit(
    opened: Checkpointer,
) -> None:
    ends: list[str] = []
    for engine in engines_of(opened):
        event.listen(engine, "commit", lambda _: ends.append("commit"))
        event.listen(engine, "rollback", lambda _: ends.append("rollback"))
    await opened.save_pending_request("no such thread", None)
    assert ends == ["rollback"]


async def test_listing_a_page_is_two_statements(
    opened: Checkpointer, count: StatementCount
) -> None:
    """Last seqs are looked up together, without counting rows."""
    await asyncio.gather(*(opened.append(f"t{n}", [UserFactory()]) for n in range(50)))
    assert await count.of(lambda: opened.list_threads(limit=100)) == 2
    assert await count.of(lambda: opened.list_threads(limit=100, order="recent")) == 2


async def test_no_ddl_is_sent_at_run_time(server_url: str) -> None:
    """The schema of a server belongs to migrations."""
    async with Checkpointer(server_url) as checkpointer:
        sent = sent_by(checkpointer)
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.save_extra("t", {"a": 1})
        await checkpointer.delete_thread("t")
        verbs = {statement.split()[0].upper() for statement in sent}
        assert verbs == {"SELECT", "INSERT", "UPDATE", "DELETE"}


async def test_the_pools_open_their_least_and_keep_their_most(server_url: str) -> None:
    async with Checkpointer(server_url, min_pool_size=3, max_pool_size=4) as checkpointer:
        pools = pools_of(checkpointer)
        assert [pool.checkedin() for pool in pools] == [2, 1]
        await asyncio.gather(
            *(checkpointer.append(f"t{n}", [UserFactory()]) for n in range(30)),
            *(checkpointer.load(f"t{n}") for n in range(30)),
        )
        assert [pool.checkedin() for pool in pools] == [3, 1]


@pytest.mark.parametrize(
    ("least", "most", "writing", "reading"),
    [
        (0, 10, (0, 7), (0, 3)),
        (1, 1, (1, 1), (0, 0)),
        (1, 2, (1, 2), (0, 0)),
        (1, 10, (1, 7), (1, 3)),
        (4, 4, (3, 3), (1, 1)),
        (10, 10, (7, 7), (3, 3)),
    ],
)
def test_connections_are_divided(
    least: int, most: int, writing: tuple[int, int], reading: tuple[int, int]
) -> None:
    """Both pools together have no more connections than were asked for."""
    divided = MySQLBackend().divide(PoolSize(least, most))
    assert divided == (PoolSize(*writing), PoolSize(*reading))


async def test_no_page_reads_a_thread_whole(innodb_url: str) -> None:
    """Neither paging nor the newest n reads the rows of others."""
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(300))
        with recorded(engines_of(checkpointer)) as sent:
            await checkpointer.load("t")
            await checkpointer.load("t", last=10)
            await checkpointer.read("t", after_seq=100, limit=10)
            await checkpointer.append("t", UserFactory.build_batch(40))
    reading = [one for one in sent if one[0].startswith("SELECT")]
    assert len(reading) == 4
    await on_connection(innodb_url, lambda c: analyze(c, "cubepi_messages"))
    read = await on_connection(innodb_url, lambda c: [rows_read(c, *one) for one in reading])
    print(f"rows read: {read}")
    assert read[0] >= 300
    assert max(read[1:]) < 30


@pytest.mark.parametrize(("length", "statements"), [(1_000, 1), (120_000, 2), (1_000_000, 2)])
async def test_a_long_message_is_not_sent_as_digits(
    mysql_url: str, length: int, statements: int
) -> None:
    async with Checkpointer(mysql_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(2))
        sent = sent_by(checkpointer)
        await checkpointer.append("t", [UserFactory(id="x" * length)])
        assert len([one for one in sent if not one.startswith("UPDATE")]) == statements
        sent.clear()
        checkpointer.client.facts = DatabaseFacts(12_000)
        await checkpointer.append("t", [UserFactory(id="x" * 1_000)])
        assert len([one for one in sent if not one.startswith("UPDATE")]) == 2
        assert len(await checkpointer.read("t")) == 4


@pytest.mark.parametrize("joined", [False, True], ids=["own", "joined"])
async def test_a_waiting_statement_can_be_listed(innodb_url: str, *, joined: bool) -> None:
    """MySQL fails to list statements (error 3854) if one has bytes that are not text."""
    engine, messages = engine_for(innodb_url), UserFactory.build_batch(3)
    async with (
        Checkpointer(innodb_url) as checkpointer,
        engine.connect() as holder,
        AsyncSession(engine) as session,
    ):
        await checkpointer.append("t", [UserFactory()])
        gap = "SELECT * FROM cubepi_messages WHERE thread_id = 't' AND seq > 1 FOR UPDATE"
        await holder.execute(text(gap))
        appends = checkpointer.bind(session) if joined else checkpointer
        waiting = asyncio.create_task(appends.append("t", messages))
        listed = "SELECT info FROM information_schema.processlist WHERE info LIKE 'INSERT%'"
        async with engine.connect() as operator:

            async def is_shown() -> bool:
                statement = (await operator.execute(text(listed))).scalar()
                return str(statement).count("from_base64(") == len(messages)

            await until(is_shown)
        await holder.rollback()
        await waiting
        await session.commit()
        assert [each.seq for each in await checkpointer.read("t")] == [1, 2, 3, 4]
    await engine.dispose()
