"""How servers find what is read: in one partition, by an index, among 1,000 other threads."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from sqlalchemy import Connection, event, insert, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.databases import (
    SERVERS,
    create_schema,
    engines_of,
    fresh_database,
    on_connection,
)
from tests.support.factories import UserFactory
from tests.support.matrix import on_each
from tests.support.plans import Plan, Sent, analyze, explain, recorded
from tests.support.ways import host_engine
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.models import Message, cubepi_metadata
from threadlog.models.dialects.ddl import PARTITION_COUNT
from threadlog.runtime.sync_client import SyncEngineClient

TABLES: Final = ("cubepi_threads", "cubepi_messages", "cubepi_runs", "cubepi_hitl_answers")
OTHERS: Final = 1000
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)


def _fill_others(connection: Connection) -> None:
    """Store the other threads, of 20 messages of 1,500 bytes each."""
    tables = cubepi_metadata.tables
    names = [f"other {number}" for number in range(OTHERS)]
    threads = [
        {"thread_id": name, "updated_at": LONG_AGO + timedelta(seconds=number)}
        for number, name in enumerate(names)
    ]
    connection.execute(insert(tables["cubepi_threads"]), threads)
    rows = [
        {
            "thread_id": name,
            "seq": seq,
            "role": "user",
            "metadata": {"user_id": name, "number": seq},
            "payload": b"x" * 1500,
            "run_id": f"run {seq}",
        }
        for name in names
        for seq in range(1, 21)
    ]
    connection.execute(insert(tables["cubepi_messages"]), rows)


async def _fill(url: str) -> None:
    await on_connection(url, create_schema)
    await on_connection(url, _fill_others)
    async with Checkpointer(url) as checkpointer:
        for number in range(120):
            await checkpointer.claim_run("t", f"r{number}")
        for number in range(10):
            await checkpointer.append("t", UserFactory.build_batch(2, run_id=f"r{number}"))
        await checkpointer.mark_run_complete("t", "r7")
    await on_connection(url, lambda connection: analyze(connection, *TABLES))


@contextmanager
def _filled(server_url: str) -> Iterator[str]:
    with fresh_database(server_url) as url:
        asyncio.run(_fill(url))
        yield url


@pytest.fixture(scope="module", params=on_each(SERVERS))
def among_others(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database with the thread ``t`` of 20 messages among others."""
    with _filled(request.getfixturevalue(f"{request.param}_server_url")) as url:
        yield url


@pytest.fixture(scope="module")
def postgres_among_others(postgres_server_url: str) -> Iterator[str]:
    """Yield the same on PostgreSQL, for what only PostgreSQL has."""
    with _filled(postgres_server_url) as url:
        yield url


async def sent_by_work(url: str, work: Callable[[Checkpointer], Awaitable[object]]) -> Sent:
    """Return the statements sent to the database."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.load("t")  # whatever is asked once is asked by now
        with recorded(engines_of(checkpointer)) as sent:
            await work(checkpointer)
    return sent


async def plans_of(url: str, sent: Sent, *, small: bool = False) -> list[Plan]:
    """Return the server's plans; see `explain`."""
    return await on_connection(url, lambda connection: explain(connection, sent, small=small))


async def _load(checkpointer: Checkpointer) -> None:
    await checkpointer.load("t")


async def _newest(checkpointer: Checkpointer) -> None:
    await checkpointer.load("t", last=10)


async def _page(checkpointer: Checkpointer) -> None:
    await checkpointer.read("t", after_seq=100, limit=10)


@pytest.mark.parametrize("work", [_load, _newest, _page])
async def test_reading_looks_into_one_partition_by_its_key(
    among_others: str, work: Callable[[Checkpointer], Awaitable[object]]
) -> None:
    (plan,) = await plans_of(among_others, await sent_by_work(among_others, work))
    messages = [step for step in plan.steps if step.partitions]
    assert messages
    assert len({step.partitions for step in messages}) == 1
    for step in plan.steps:
        assert len(step.partitions) <= 1, plan
        # All of a thread is found as well by PostgreSQL in the other index that it begins.
        assert str(step.key).endswith(("PRIMARY", "_pkey", "_thread_id_run_id_idx")), plan
    assert not plan.sorts, plan


_RANGES: Final = {
    "mysql": ("EXPLAIN ANALYZE", r"using PRIMARY .*\(reverse\) .*\(actual .*rows=10 "),
    "mariadb": ("ANALYZE FORMAT=JSON", r'"r_rows": 10,'),
    "postgresql": ("EXPLAIN ANALYZE", r"Index Scan Backward using .*_pkey .*\(actual .*rows=10\b"),
}


async def test_the_newest_are_a_range_of_the_key(among_others: str) -> None:
    """Load(last=) reads no more messages than it gives."""
    ((statement, parameters),) = await sent_by_work(among_others, _newest)

    def run(connection: Connection) -> None:
        word, expected = _RANGES[connection.dialect.name]
        rows = connection.exec_driver_sql(f"{word} {statement}", parameters)
        plan = "\n".join(" ".join(map(str, row)) for row in rows)
        assert re.search(expected, plan), plan

    await on_connection(among_others, run)


async def _everything(checkpointer: Checkpointer) -> None:
    await checkpointer.claim_run("t", "new")
    await checkpointer.append("t", [UserFactory(run_id="new", content=[])])
    await checkpointer.append("t", [UserFactory(content=[])])
    await checkpointer.mark_run_complete("t", "new")
    await checkpointer.snapshot("t", after_run_id="new")
    await checkpointer.fork("t", "f", after_run_id="new")
    await checkpointer.runs("t")
    await checkpointer.save_extra("t", {"a": 1})
    await checkpointer.load_hitl_answer("t", "q", run_id="new")
    await checkpointer.load_pending("t")
    await checkpointer.list_threads(limit=10)
    await checkpointer.list_threads(limit=2, order="recent")  # of 1,000 ten are sorted faster
    await checkpointer.delete_thread("f")


async def test_no_statement_reads_another_partition_nor_a_table_whole(among_others: str) -> None:
    sent = await sent_by_work(among_others, _everything)
    plans = await plans_of(among_others, sent, small=True)
    steps = [(step, plan.statement) for plan in plans for step in plan.steps]
    assert len(steps) > 20
    assert [found for found in steps if len(found[0].partitions) > 1] == []
    assert [found for found in steps if found[0].key is None] == []


async def test_metadata_is_found_by_the_index_of_postgresql(postgres_among_others: str) -> None:
    """A query for what metadata contain reads 20 of 20,000 messages."""
    contains = type_coerce(Message.metadata_, JSONB).contains({"user_id": "other 7"})
    query = select(Message.thread_id, Message.seq).where(contains)
    engine = host_engine(postgres_among_others)
    with recorded([engine.sync_engine]) as sent:
        async with AsyncSession(engine) as session:
            rows = (await session.execute(query)).all()
    await engine.dispose()
    assert sorted(rows) == [("other 7", seq) for seq in range(1, 21)]
    (plan,) = await plans_of(postgres_among_others, sent)
    assert len(plan.steps) == PARTITION_COUNT
    assert {step.key for step in plan.steps} == {
        f"cubepi_messages_p{place:02d}_metadata_idx" for place in range(PARTITION_COUNT)
    }


_LOCKED: Final = (
    "SELECT DISTINCT relname FROM pg_locks JOIN pg_class ON pg_class.oid = relation "
    "WHERE pid = pg_backend_pid() AND relkind = 'r' AND starts_with(relname, 'cubepi') ORDER BY 1"
)


async def test_an_own_connection_locks_one_partition_however_often(
    postgres_among_others: str,
) -> None:
    """PostgreSQL's plans of statements that it met often leave other partitions alone."""
    found: list[list[str]] = []

    def look(connection: Connection) -> None:
        found.append(list(connection.exec_driver_sql(_LOCKED).scalars()))

    async with Checkpointer(postgres_among_others, max_pool_size=1) as checkpointer:
        (engine,) = engines_of(checkpointer)
        event.listen(engine, "commit", look)
        event.listen(engine, "rollback", look)
        for _ in range(10):  # the sixth time the server may think of a plan for every thread
            await checkpointer.append("t", [UserFactory(run_id="often")])
            await checkpointer.load("t")
            await checkpointer.load("t", last=3)
    messages = {name for names in found for name in names if "messages" in name}
    runs = {name for names in found for name in names if "runs" in name}
    assert len(found) >= 30
    assert (len(messages), len(runs)) == (1, 1)


def test_a_plain_connection_locks_one_partition_however_often(postgres_among_others: str) -> None:
    found: list[list[str]] = []
    with SyncCheckpointer(postgres_among_others, max_pool_size=1) as checkpointer:
        sessions = checkpointer.client
        assert isinstance(sessions, SyncEngineClient)
        event.listen(
            sessions.engine,
            "commit",
            lambda connection: found.append(list(connection.exec_driver_sql(_LOCKED).scalars())),
        )
        for _ in range(15):
            checkpointer.append("t", [UserFactory(run_id="often")])
    assert len(found) == 15
    assert {len(names) for names in found} == {3}
