"""Deletion, locks, foreign keys and writers, on each database."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from tests.log.test_application_keys import Base, Ticket
from tests.retention.helpers import AGE, age, fill, messages, of_thread, payloads, rows
from tests.search.helpers import assert_complete
from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of, execute, on_connection, pools_of
from tests.support.matrix import on_each
from tests.support.patience import patience
from tests.support.seeds import FRESH
from threadlog import Checkpointer, PruneSummary
from threadlog.errors import CubepiSchemaUninitialized, ThreadReferencedError
from threadlog.log import retention
from threadlog.log.retention import Pruning
from threadlog.messages import Message, TextContent, UserMessage


async def test_thread_goes_with_all_of_its_rows(full_url: str) -> None:
    async with Checkpointer(full_url) as log:
        await fill(log, "old")
        await age(full_url)
        await fill(log, "new")
        before = await rows(full_url)
        assert all(of_thread(before, "old")[table] for table in before if "version" not in table)
        found = await log.prune_older_than(AGE)
        assert found == PruneSummary(threads=1, messages=5, bytes=payloads(before, "old"))
        after = await rows(full_url)
        assert {name: table for name, table in after.items() if "version" not in name} == {
            name: table for name, table in of_thread(before, "new").items() if "version" not in name
        }


async def test_kept_thread_keeps_its_time_its_seqs_and_its_other_rows(full_url: str) -> None:
    async with Checkpointer(full_url) as log:
        await log.append("t", messages("ucrauaua"), owner="ann")
        await age(full_url)
        before = await rows(full_url)
        found = await log.prune_older_than(AGE, keep_last=2, owner="ann")
        size = payloads(before, "t", before_seq=7)
        assert found == PruneSummary(threads=1, messages=6, bytes=size)
        after = await rows(full_url)
        for name, table in before.items():
            is_cut = name in {"cubepi_messages", "threadlog_search"}
            assert after[name] == [row for row in table if not is_cut or row["seq"] > 6]
        await assert_complete(full_url, rows=2)
        assert await log.append("t", messages("u")) == [9]


async def test_detached_fork_keeps_its_time(full_url: str) -> None:
    async with Checkpointer(full_url) as log:
        await log.append("t", messages("ua"))
        await age(full_url)
        await log.fork("t", "fork", at_seq=2)
        await age(full_url, days=1)
        (before, _) = await log.list_threads()
        assert (await log.prune_older_than(AGE)).with_forks == 1
        assert (await log.prune_older_than(AGE, ignore_forks=True)).threads == 1
        (after,) = await log.list_threads()
        assert (after.updated_at, after.parent_thread_id) == (before.updated_at, None)


@pytest.fixture
async def tickets(database_url: str) -> AsyncIterator[None]:
    """Create an application's table that refers to threads."""
    await on_connection(database_url, Base.metadata.create_all)
    yield
    await on_connection(database_url, Base.metadata.drop_all)


@pytest.mark.usefixtures("tickets")
async def test_referenced_thread_is_left_out_and_the_run_goes_on(database_url: str) -> None:
    async with Checkpointer(database_url) as log:
        for thread_id in ("a", "b", "c"):
            await log.append(thread_id, messages("uaua"))
        engine = engine_for(database_url)
        async with AsyncSession(engine) as session, session.begin():
            session.add(Ticket(id=1, title="a", thread_id="b"))
        await engine.dispose()
        await age(database_url)
        found = await log.prune_older_than(AGE)
        counts = (found.threads, found.messages, found.referenced, found.referring_tables)
        assert counts == (2, 8, 1, ("test_tickets",))
        assert len(await log.read("b")) == 4
        kept = await log.prune_older_than(AGE, keep_last=1)
        assert (kept.messages, kept.referenced) == (2, 0)


@pytest.mark.parametrize("database_name", on_each(["sqlite", "postgres"]))
async def test_thread_whose_foreign_key_is_checked_at_the_commit_is_left_out(full_url: str) -> None:
    """Django creates all of its keys so."""
    async with Checkpointer(full_url) as log:
        for thread_id in ("a", "b", "c"):
            await log.append(thread_id, messages("u"))
        await execute(
            full_url,
            "CREATE TABLE test_late (thread_id varchar(255) REFERENCES cubepi_threads "
            "DEFERRABLE INITIALLY DEFERRED)",
        )
        try:
            await execute(full_url, "INSERT INTO test_late VALUES ('b')")
            await age(full_url)
            found = await log.prune_older_than(AGE)
            assert (found.threads, found.referring_tables) == (2, ("test_late",))
            with pytest.raises(ThreadReferencedError) as caught:
                await log.delete_thread("b")
            assert (caught.value.table, len(await log.read("b"))) == ("test_late", 1)
        finally:
            await execute(full_url, "DROP TABLE test_late")


async def test_long_thread_goes_in_several_transactions_that_end_before_a_user_message(
    full_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    async with Checkpointer(full_url) as log:
        await log.append("t", messages("ucra" * 10))
        await age(full_url)
        pruning = Pruning(AGE)
        lengths = []
        while await log.client.write(pruning.step):
            lengths.append(len(await log.read("t")))
            data = await log.load("t")
            assert not (data and data.messages) or data.messages[0].role == "user"
            await assert_complete(full_url, rows=lengths[-1] // 4 * 5)
        assert lengths == [32, 24, 16, 8, 0]
        assert (pruning.summary.threads, pruning.summary.messages) == (1, 40)
        assert await log.list_threads() == []


async def test_bytes_limit_a_transaction_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_BYTES", 1)
    async with Checkpointer(database_url) as log:
        await log.append("t", messages("aaa"))
        await age(database_url)
        pruning = Pruning(AGE)
        steps = 0
        while await log.client.write(pruning.step):
            steps += 1
        assert (steps, pruning.summary.messages) == (3, 3)


@pytest.mark.parametrize("keep_last", [None, 4])
async def test_writer_between_two_transactions_stops_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch, keep_last: int | None
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    async with Checkpointer(database_url) as log:
        await log.append("t", messages("ucra" * 10))
        await age(database_url)
        pruning = Pruning(AGE, keep_last=keep_last)
        assert await log.client.write(pruning.step)
        assert await log.append("t", messages("u")) == [41]
        while await log.client.write(pruning.step):
            pass
        assert [stored.seq for stored in await log.read("t")] == [*range(9, 42)]
        assert (pruning.summary.messages, pruning.summary.in_use) == (8, 1)


async def test_thread_that_is_written_to_after_it_was_found_is_left_alone(
    database_url: str,
) -> None:
    async with Checkpointer(database_url) as log:
        for thread_id in ("a", "b"):
            await log.append(thread_id, messages("ua"))
        await age(database_url)
        pruning = Pruning(AGE)
        assert await log.client.write(pruning.step)
        (left,) = await log.list_threads()
        await log.append(left.thread_id, messages("u"))
        while await log.client.write(pruning.step):
            pass
        assert pruning.summary.in_use == 1
        assert len(await log.read(left.thread_id)) == 3


async def test_locked_thread_is_not_waited_for(server_url: str) -> None:
    engine = engine_for(server_url)
    async with Checkpointer(server_url) as log:
        for thread_id in ("a", "b"):
            await log.append(thread_id, messages("ua"))
        await age(server_url)
        async with patience(), engine.begin() as connection:
            await connection.execute(
                text("SELECT thread_id FROM cubepi_threads WHERE thread_id = 'a' FOR UPDATE")
            )
            found = await log.prune_older_than(AGE)
        assert (found.threads, found.in_use) == (1, 1)
        assert len(await log.read("a")) == 2
    await engine.dispose()


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("keep_last", [None, 1])
async def test_lost_commit_is_counted_once(
    server_url: str,
    other: AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arrives: bool,
    keep_last: int | None,
) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    async with Checkpointer(server_url) as log:
        await log.append("t", messages("ucra" * 3))
        await age(server_url)
        engine = engines_of(log)[0]
        for _ in range(3):  # the COMMIT of each transaction
            dry = await log.prune_older_than(AGE, keep_last=keep_last, dry_run=True)
            pruning = Pruning(AGE, keep_last=keep_last)
            with lost_commits(engine, other, arrives=arrives) as killed:
                while await log.client.write(pruning.step):
                    pass
            assert pruning.summary == dry
        assert killed or keep_last is not None or not await log.list_threads()


async def test_nothing_newer_is_lost_beside_writers(
    full_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers append to old threads while they are pruned, in batches of a few messages."""
    print(f"seed {FRESH}")
    chance = random.Random(FRESH)
    monkeypatch.setattr(retention, "BATCH", 5)
    threads = [f"t{number}" for number in range(40)]
    written: dict[str, dict[int, str]] = defaultdict(dict)
    over = asyncio.Event()
    async with Checkpointer(full_url) as log, Checkpointer(full_url) as pruner:
        for thread_id in threads:
            await log.append(thread_id, messages("ucra" * 5))
        await age(full_url)

        async def write() -> None:
            while not over.is_set():
                thread_id = chance.choice(threads)
                name = f"{chance.random()}"
                given: list[Message] = [UserMessage(content=[TextContent(text=name)])]
                (seq,) = await log.append(thread_id, given)
                assert seq not in written[thread_id]
                written[thread_id][seq] = name
                await asyncio.sleep(chance.random() * 0.02)

        async def prune() -> None:
            for keep_last in (8, 2, None):
                print(await pruner.prune_older_than(AGE, keep_last=keep_last))
            over.set()

        async with patience(), asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(write())
            tasks.create_task(prune())
        assert any(written.values())
        for thread_id in threads:
            stored = {each.seq: each.message for each in await log.read(thread_id)}
            for seq, name in written[thread_id].items():
                assert stored[seq].content[0].text == name  # type: ignore[union-attr]  # text
        left = {thread.thread_id for thread in await log.list_threads()}
        assert left == {thread_id for thread_id in threads if written[thread_id]}
        await assert_complete(full_url, rows=len((await rows(full_url))["threadlog_search"]))


async def test_application_s_engine_with_lasting_snapshots_prunes_beside_a_writer(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that misses the writer's message must not delete it."""
    monkeypatch.setattr(retention, "BATCH", 10)
    engine = engine_for(server_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(engine=engine) as log, Checkpointer(server_url) as writer:
        threads = [f"t{number}" for number in range(12)]
        for thread_id in threads:
            await writer.append(thread_id, messages("ucra" * 5))
        await age(server_url)

        async def write() -> None:
            for thread_id in threads[::2]:
                await writer.append(thread_id, messages("u"))

        async with patience():
            found, _ = await asyncio.gather(log.prune_older_than(AGE), write())
        assert found.threads >= len(threads) // 2
        for thread_id in threads:
            left = [stored.seq for stored in await writer.read(thread_id)]
            # 21, or 1 if the thread was deleted before
            assert bool(left) is (thread_id in threads[::2])
            assert not left or left[-1] in {1, 21}
    await engine.dispose()


async def test_runs_at_once_delete_and_count_each_thread_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    async with Checkpointer(database_url) as log, Checkpointer(database_url) as other:
        for number in range(30):
            await log.append(f"t{number}", messages("uaua"))
        await age(database_url)
        async with patience():
            found = await asyncio.gather(*(each.prune_older_than(AGE) for each in (log, other)))
        found.append(await log.prune_older_than(AGE))  # what both had left to the other
        assert await log.list_threads() == []
        assert sum(each.messages for each in found) == 120
        assert found[-1].in_use == 0


async def test_cancelled_run_leaves_whole_threads(database_url: str) -> None:
    print(f"seed {FRESH}")
    chance = random.Random(FRESH)
    async with Checkpointer(database_url, max_pool_size=3) as log:
        for number in range(60):
            await log.append(f"t{number}", messages("uaua"))
        await age(database_url)
        while left := await log.list_threads():
            task = asyncio.create_task(log.prune_older_than(AGE))
            await asyncio.sleep(chance.random() * 0.2)
            task.cancel()
            await asyncio.wait([task])
            for thread in left:
                assert len(await log.read(thread.thread_id)) in {0, 4}
        assert not any(pool.checkedout() for pool in pools_of(log))


async def test_owner_needs_thread_control(server_url: str) -> None:
    async with Checkpointer(server_url) as log:
        await log.append("t", messages("u"))
        await age(server_url)
        with pytest.raises(CubepiSchemaUninitialized, match="control"):
            await log.prune_older_than(AGE, owner="ann")
        assert (await log.prune_older_than(AGE)).threads == 1
