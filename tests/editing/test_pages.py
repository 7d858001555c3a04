"""Pages of a thread, backwards, and the seqs that an append returns."""

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from tests.support.counting import StatementCount
from tests.support.databases import engines_of, on_connection
from tests.support.factories import UserFactory
from tests.support.plans import analyze, explain, recorded, rows_read
from threadlog import END_OF_THREAD, Checkpointer
from threadlog.errors import InvalidInputError
from threadlog.messages import Message


@pytest.mark.every_way
async def test_read_before_a_seq_pages_backwards(checkpointer: Checkpointer) -> None:
    said: list[Message] = UserFactory.build_batch(10)
    await checkpointer.append("other", said)
    await checkpointer.append("t", said)
    await checkpointer.truncate("t", after_seq=8)
    await checkpointer.append("t", said[8:])
    every = await checkpointer.read("t")
    assert [stored.seq for stored in every] == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12]
    before, pages = END_OF_THREAD, []
    while page := await checkpointer.read("t", before_seq=before, limit=4):
        pages.append([stored.seq for stored in page])
        assert page == [stored for stored in every if stored.seq in pages[-1]]
        before = page[0].seq
    assert pages == [[7, 8, 11, 12], [3, 4, 5, 6], [1, 2]]
    assert await checkpointer.read("t", before_seq=7) == every[:6]
    assert await checkpointer.read("t", after_seq=3, before_seq=8) == every[3:7]
    assert await checkpointer.read("t", after_seq=3, before_seq=8, limit=2) == every[5:7]
    assert await checkpointer.read("t", before_seq=1) == []
    assert await checkpointer.read("unknown", before_seq=5, limit=2) == []


@pytest.mark.one_database
@pytest.mark.parametrize("bad", [0, -1, "1", True, 2**63])
async def test_read_before_a_seq_that_is_none_is_refused(
    checkpointer: Checkpointer, bad: object
) -> None:
    with pytest.raises(InvalidInputError, match="before_seq"):
        await checkpointer.read("t", before_seq=bad)  # type: ignore[arg-type]  # on purpose


async def test_a_page_backwards_is_one_statement_that_reads_its_own_rows(
    server_name: str, server_url: str, count: StatementCount
) -> None:
    """Of a thread of many messages, in one partition, by the key, without a sort."""
    async with Checkpointer(server_url) as checkpointer:
        for thread_id in ("t", "other"):
            for _ in range(5):
                await checkpointer.append(thread_id, UserFactory.build_batch(1000))
        await on_connection(server_url, lambda c: analyze(c, "cubepi_messages"))
        with recorded(engines_of(checkpointer)) as sent:
            newest = await checkpointer.read("t", before_seq=END_OF_THREAD, limit=10)
            middle = await checkpointer.read("t", before_seq=2000, limit=10)
        assert [stored.seq for stored in newest] == list(range(4991, 5001))
        assert [stored.seq for stored in middle] == list(range(1990, 2000))
        assert len(sent) == 2
        assert await count.of(lambda: checkpointer.read("t", before_seq=2000, limit=10)) == 1
    plans = await on_connection(server_url, lambda c: explain(c, sent))
    assert len(plans) == 2
    for plan in plans:
        (step,) = plan.steps
        assert len(step.partitions) <= 1, plan
        assert str(step.key).endswith(("PRIMARY", "_pkey")), plan
        assert not plan.sorts, plan
    if server_name != "postgres":
        read = await on_connection(server_url, lambda c: [rows_read(c, *one) for one in sent])
        print(f"rows read for a page of 10 of 5,000 messages: {read}")
        assert max(read) < 30


async def test_a_page_backwards_is_a_range_of_the_key_on_sqlite(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(30))
        with recorded(engines_of(checkpointer)) as sent:
            await checkpointer.read("t", before_seq=20, limit=10)
    ((statement, parameters),) = sent

    def plan(connection: Connection) -> str:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(row[3] for row in rows)

    found = await on_connection(sqlite_url, plan)
    assert "USING INDEX" in found, found
    assert "(thread_id=? AND seq>? AND seq<?)" in found, found
    assert "TEMP B-TREE" not in found, found


@pytest.mark.every_way
async def test_append_returns_the_seqs_of_its_messages(checkpointer: Checkpointer) -> None:
    assert await checkpointer.append("t", []) == []
    assert await checkpointer.append("t", [UserFactory()]) == [1]
    assert await checkpointer.append("t", [UserFactory()]) == [2]
    assert await checkpointer.append("t", UserFactory.build_batch(40)) == list(range(3, 43))
    await checkpointer.claim_run("t", "r")
    assert await checkpointer.append("t", [UserFactory(run_id="r")]) == [43]
    assert await checkpointer.append("t", UserFactory.build_batch(2, run_id="r")) == [44, 45]


async def test_append_divided_into_statements_returns_all_seqs(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        facts = checkpointer.client.facts
        checkpointer.client.facts = type(facts)(12_000, facts.has_control)
        seqs = await checkpointer.append("t", UserFactory.build_batch(60, id="x" * 1_000))
        assert seqs == list(range(2, 62))


def _one(number: int) -> int:
    return 1 + 0 * number


def _several(number: int) -> int:
    return 1 + number % 3


@pytest.mark.parametrize("size", [_one, _several])
async def test_appends_of_a_group_return_their_own_seqs(
    database_url: str, size: Callable[[int], int]
) -> None:
    """Of 64 appends to 4 threads at once, each finds its messages at the seqs that it got."""
    async with Checkpointer(database_url) as checkpointer:
        batches: list[list[Message]] = [UserFactory.build_batch(size(n)) for n in range(64)]
        returned = await asyncio.gather(
            *(checkpointer.append(f"t{n % 4}", batch) for n, batch in enumerate(batches))
        )
        for thread in range(4):
            stored = {s.seq: s.message for s in await checkpointer.read(f"t{thread}")}
            mine = [n for n in range(64) if n % 4 == thread]
            for n in mine:
                assert [stored[seq] for seq in returned[n]] == batches[n]
            assert sorted(seq for n in mine for seq in returned[n]) == list(stored)
