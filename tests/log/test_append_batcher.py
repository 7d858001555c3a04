"""Appends that share a transaction: what each caller is told, in what order, at what cost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import pytest
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.counting import StatementCount
from tests.support.databases import (
    engine_for,
    engines_of,
    execute,
    on_connection,
    pools_of,
    sent_by,
)
from tests.support.factories import UserFactory
from tests.support.patience import patience, until
from tests.support.plans import analyze
from threadlog import Checkpointer
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    ColumnTooShortError,
    InvalidMessageError,
    NotOpenError,
    NotWritableError,
    PoolTimeoutError,
    RunAlreadyCompletedError,
    TooLargeError,
)
from threadlog.log.append import AppendRequest, Outcome
from threadlog.messages import Message, UserMessage
from threadlog.runtime.batcher import Batcher, Busy, _Pending

WRITERS = 16

_READS_OF_MYSQL: Final = "SHOW SESSION STATUS LIKE 'Handler_read%%'"
READS: Final = {
    "mysql": _READS_OF_MYSQL,
    "mariadb": _READS_OF_MYSQL,
    "postgresql": "SELECT relname, seq_tup_read + COALESCE(idx_tup_fetch, 0) "
    "FROM pg_stat_xact_user_tables",
}
"""What tells how many rows a connection has read, in parts."""

_SHORTER_OF_MYSQL: Final = "ALTER TABLE cubepi_messages MODIFY run_id VARCHAR(8)"
SHORTER: Final = {
    "mysql": _SHORTER_OF_MYSQL,
    "mariadb": _SHORTER_OF_MYSQL,
    "postgresql": "ALTER TABLE cubepi_messages ALTER COLUMN run_id TYPE VARCHAR(8)",
}


_INTRUSION_OF_MYSQL: Final = (
    "INSERT INTO cubepi_messages (thread_id, seq, role, payload) VALUES ('t5', 2, 'x', '')"
)
INTRUSION: Final = {
    "mysql": _INTRUSION_OF_MYSQL,
    "mariadb": _INTRUSION_OF_MYSQL,
    # Its foreign key would have an INSERT lock the thread too.
    "postgresql": "DO $$ BEGIN EXECUTE (SELECT 'LOCK TABLE ' || tableoid::regclass || ' IN SHARE "
    "MODE' FROM cubepi_messages WHERE thread_id = 't5' LIMIT 1); END $$",
}


def most(server_name: str, transactions: list[int], *, rows: int) -> int:
    """Return the upper limit of statements for one append, for two, and for a batch.

    PostgreSQL receives a BEGIN and counts each row of an INSERT, which the driver sends all
    together. A single append locks the thread before reading it; MySQL does both at once.
    """
    if server_name != "postgres":
        return sum(transactions)
    *alone, group = transactions
    return sum(one + 1 for one in alone) + group + rows


def said(number: int, size: int = 1) -> list[Message]:
    """Return a writer's batch."""
    return [UserMessage(content=[], metadata={"b": number, "n": n}) for n in range(size)]


def queue_of(checkpointer: Checkpointer) -> Batcher[AppendRequest, range]:
    """Return the append batcher of an open checkpointer."""
    assert checkpointer.batcher is not None
    return checkpointer.batcher


def assert_idle(checkpointer: Checkpointer) -> None:
    """Assert that nothing waits, runs or holds a connection."""
    queue = queue_of(checkpointer)
    assert not queue._queue.waiting
    assert not queue._queue.running
    assert not queue._batches
    assert not queue.pool.slots.locked()
    assert not any(pool.checkedout() for pool in pools_of(checkpointer))


async def batches(checkpointer: Checkpointer, thread_id: str) -> list[int]:
    """Return the batches of a thread in order after asserting that each is complete."""
    stored = await checkpointer.read(thread_id)
    assert [s.seq for s in stored] == list(range(1, len(stored) + 1))
    found: list[int] = []
    for s in stored:
        number, place = int(str(s.message.metadata["b"])), s.message.metadata["n"]
        if place == 0:
            found.append(number)
        assert found[-1] == number
    return found


@asynccontextmanager
async def locked(url: str, thread_id: str) -> AsyncIterator[AsyncConnection]:
    """Lock a thread in another application's transaction."""
    engine = engine_for(url)
    async with engine.connect() as connection:
        await connection.execute(
            text("SELECT 1 FROM cubepi_threads WHERE thread_id = :id FOR UPDATE"),
            {"id": thread_id},
        )
        yield connection
    await engine.dispose()


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer with 16 threads that were just written to."""
    async with Checkpointer(server_url) as checkpointer:
        await asyncio.gather(*(checkpointer.append(f"t{n}", said(-1)) for n in range(WRITERS)))
        yield checkpointer
        assert_idle(checkpointer)


async def test_appends_to_many_threads_share_statements(
    opened: Checkpointer, count: StatementCount, server_name: str
) -> None:

    async def sixteen() -> None:
        await asyncio.gather(*(opened.append(f"t{n}", said(n, 3)) for n in range(WRITERS)))

    await sixteen()  # brings updated_at to this second
    assert await count.of(sixteen) <= most(server_name, [3, 3, 4], rows=16 * 3)


async def test_appends_to_one_thread_share_statements(
    opened: Checkpointer, count: StatementCount, server_name: str
) -> None:

    async def sixteen() -> None:
        await asyncio.gather(*(opened.append("t0", said(n)) for n in range(WRITERS)))

    await sixteen()
    assert await count.of(sixteen) <= most(server_name, [3, 4], rows=16)


async def test_appends_of_runs_cost_one_statement_more(
    opened: Checkpointer, count: StatementCount, server_name: str
) -> None:
    """The runs of a group are looked at together."""
    await asyncio.gather(*(opened.claim_run(f"t{n}", f"r{n}") for n in range(WRITERS)))

    async def sixteen() -> None:
        await asyncio.gather(
            *(opened.append(f"t{n}", [UserFactory(run_id=f"r{n}")]) for n in range(WRITERS))
        )

    await sixteen()
    assert await count.of(sixteen) <= most(server_name, [3, 3, 5], rows=16)


async def test_appends_in_a_new_second_cost_one_statement_more(
    opened: Checkpointer, count: StatementCount, server_name: str, server_url: str
) -> None:
    """The threads of a group are touched together, all of them."""
    counts = []
    for _ in range(3):
        await execute(server_url, "UPDATE cubepi_threads SET updated_at = '2026-01-01'")
        before = await count.questions()
        await asyncio.gather(*(opened.append(f"t{n}", said(n)) for n in range(WRITERS)))
        counts.append(await count.questions() - before - 1)
    assert min(counts) <= most(server_name, [4, 4, 5], rows=16)
    recent = await opened.list_threads(order="recent")
    assert all(thread.updated_at > datetime(2026, 1, 2, tzinfo=UTC) for thread in recent)


async def test_a_group_reads_no_more_than_the_ends_of_threads(
    opened: Checkpointer, server_url: str
) -> None:
    """A batch's cost for the server does not grow with its threads."""
    await opened.append("t3", said(0, 3_000))
    # Without statistics, PostgreSQL may plan for a small table until its autovacuum has run.
    await on_connection(server_url, lambda connection: analyze(connection, "cubepi_messages"))
    engine = engines_of(opened)[0]
    begun: dict[int, int] = {}
    reads: list[int] = []

    def counted(connection: Connection) -> int:
        rows = connection.exec_driver_sql(READS[connection.dialect.name]).all()
        return sum(int(row[1]) for row in rows)

    def begin(connection: Connection) -> None:
        begun[id(connection)] = counted(connection)

    def commit(connection: Connection) -> None:
        reads.append(counted(connection) - begun[id(connection)])

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
    await asyncio.gather(*(opened.append(f"t{n}", said(1)) for n in range(WRITERS)))
    event.remove(engine, "begin", begin)
    event.remove(engine, "commit", commit)
    assert reads
    assert max(reads) < 1_000


async def test_one_refused_append_hinders_no_other(checkpointer: Checkpointer) -> None:
    """Completed runs, bad messages and bad ids are their callers' own affair."""
    for number in range(WRITERS):
        await checkpointer.append(f"t{number}", said(-1))
    for thread_id in ("t3", "t5"):
        await checkpointer.claim_run(thread_id, "done")
        await checkpointer.mark_run_complete(thread_id, "done")

    async def one(number: int) -> None:
        # "done" is completed in t3 and t5, and is a run like others elsewhere.
        run_id = "done" if number in {3, 4} else None
        messages = [UserMessage(content=[], metadata={"b": number, "n": 0}, run_id=run_id)]
        if number == 7:
            messages[0].metadata["bad"] = "\ud800"
        await checkpointer.append(f"t{number}", messages)
        await checkpointer.append("shared", said(number))

    outcomes = await asyncio.gather(*map(one, range(WRITERS)), return_exceptions=True)
    assert isinstance(outcomes[3], RunAlreadyCompletedError)
    assert (outcomes[3].thread_id, outcomes[3].run_id) == ("t3", "done")
    assert isinstance(outcomes[7], InvalidMessageError)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [3, 7]
    for number in range(WRITERS):
        new = [] if number in {3, 7} else [number]
        assert await batches(checkpointer, f"t{number}") == [-1, *new]
    assert sorted(await batches(checkpointer, "shared")) == [
        n for n in range(WRITERS) if n not in {3, 7}
    ]


async def test_one_refused_append_of_a_thread_leaves_no_gap(opened: Checkpointer) -> None:
    await opened.claim_run("t0", "done")
    await opened.mark_run_complete("t0", "done")
    appends = [opened.append("t0", said(n, 2)) for n in range(4)]
    appends.insert(2, opened.append("t0", [UserMessage(content=[], run_id="done")]))
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        list,
        list,
        RunAlreadyCompletedError,
        list,
        list,
    ]
    assert await batches(opened, "t0") == [-1, 0, 1, 2, 3]


async def test_an_oversized_append_hinders_no_other(opened: Checkpointer) -> None:
    opened.client.facts = DatabaseFacts(20_000)
    sizes = {5: 40_000, 9: 6_000}

    async def one(number: int) -> None:
        text_ = "x" * sizes.get(number, 1)
        count = 8 if number == 9 else 1
        batch: list[Message] = [
            UserMessage(content=[], metadata={"b": number, "n": n, "text": text_})
            for n in range(count)
        ]
        await opened.append(f"t{number % 4}", batch)

    outcomes = await asyncio.gather(*map(one, range(WRITERS)), return_exceptions=True)
    assert isinstance(outcomes[5], TooLargeError)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [5]
    for thread in range(4):
        expected = [n for n in range(thread, WRITERS, 4) if n != 5]
        assert await batches(opened, f"t{thread}") == [-1, *expected]


async def test_an_error_of_the_database_is_its_callers_alone(
    opened: Checkpointer, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each append of a transaction that the database refused is tried by itself."""
    await execute(server_url, SHORTER[make_url(server_url).get_backend_name()])

    async def one(number: int) -> None:
        run_id = "too long for it" if number in {4, 11} else "short"
        await opened.append(
            f"t{number % 8}",
            [UserMessage(content=[], metadata={"b": number, "n": 0}, run_id=run_id)],
        )

    outcomes = await asyncio.gather(*map(one, range(WRITERS)), return_exceptions=True)
    wrong = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert wrong == [4, 11]
    assert all(isinstance(outcomes[n], ColumnTooShortError) for n in wrong)
    assert "calls of a batch one by one" in caplog.text
    assert "too long for it" not in caplog.text
    for thread in range(8):
        expected = [n for n in (thread, thread + 8) if n not in wrong]
        assert await batches(opened, f"t{thread}") == [-1, *expected]


async def test_a_group_does_not_wait_for_a_lock(opened: Checkpointer, server_url: str) -> None:
    """A thread which somebody else holds keeps back its own appends only."""
    async with locked(server_url, "t5") as holder, patience():
        appends = {
            (thread, number): asyncio.create_task(opened.append(f"t{thread}", said(number)))
            for number in range(3)
            for thread in range(WRITERS)
        }
        others = [append for (thread, _), append in appends.items() if thread != 5]
        await asyncio.gather(*others)
        assert not any(appends[5, number].done() for number in range(3))
        await holder.rollback()
        await asyncio.gather(*appends.values())
    for thread in range(WRITERS):
        assert await batches(opened, f"t{thread}") == [-1, 0, 1, 2]


async def test_appends_of_a_thread_keep_their_order(checkpointer: Checkpointer) -> None:
    """Earlier appends come first, in and across batches, of any size."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    threads = [dice.randrange(3) for _ in range(300)]
    appends = []
    for number, thread in enumerate(threads):
        appends.append(
            asyncio.create_task(checkpointer.append(f"t{thread}", said(number, dice.randint(1, 5))))
        )
        if dice.random() < 0.1:
            await asyncio.sleep(dice.random() * 0.01)
    await asyncio.gather(*appends)
    for thread in range(3):
        expected = [number for number, of in enumerate(threads) if of == thread]
        assert await batches(checkpointer, f"t{thread}") == expected


async def test_new_threads_are_created_by_any_number_at_once(checkpointer: Checkpointer) -> None:
    await asyncio.gather(
        *(checkpointer.append(f"t{thread}", said(n)) for n in range(3) for thread in range(20))
    )
    for thread in range(20):
        assert await batches(checkpointer, f"t{thread}") == [0, 1, 2]


@pytest.mark.parametrize(
    ("limit", "groups"), [("_MOST_REQUESTS", [1, 1, 4, 4, 4, 2]), ("_MOST_BYTES", [1] * 16)]
)
async def test_a_group_is_bounded(
    opened: Checkpointer, monkeypatch: pytest.MonkeyPatch, limit: str, groups: Sequence[int]
) -> None:
    monkeypatch.setattr(f"threadlog.runtime.batcher.{limit}", 4)
    queue = queue_of(opened)
    sizes: list[int] = []
    start = queue._start

    def note(callers: Sequence[_Pending[AppendRequest]]) -> None:
        sizes.append(len(callers))
        start(callers)

    monkeypatch.setattr(queue, "_start", note)
    await asyncio.gather(*(opened.append(f"t{n}", said(n)) for n in range(WRITERS)))
    assert sizes == groups


async def test_cancelling_what_waits_takes_it_out_of_the_queue(
    server_url: str,
) -> None:
    """An append which was not begun is never stored, and holds nobody up."""
    async with Checkpointer(server_url, max_pool_size=1) as checkpointer:
        await checkpointer.append("t", said(0))
        async with locked(server_url, "t") as holder:
            appends = [
                asyncio.create_task(checkpointer.append(thread, said(n)))
                for n in range(1, 4)
                for thread in ("t", "u")
            ]
            await asyncio.sleep(0.05)
            for append in appends[1:4]:
                append.cancel()
            outcomes = await asyncio.gather(*appends[1:4], return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            assert not any(append.done() for append in (appends[0], *appends[4:]))
            await holder.rollback()
        await asyncio.gather(appends[0], *appends[4:])
        assert await batches(checkpointer, "t") == [0, 1, 3]
        assert await batches(checkpointer, "u") == [3]
        assert_idle(checkpointer)


async def test_a_blocked_append_that_is_cancelled_ends_after_the_grace_period(
    opened: Checkpointer, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller is not kept for as long as somebody else holds the thread."""
    monkeypatch.setattr("threadlog.runtime.batcher.GRACE_SECONDS", 0.2)
    async with locked(server_url, "t5"), patience():
        append = asyncio.create_task(opened.append("t5", said(0)))
        later = asyncio.create_task(opened.append("t5", said(1)))
        await asyncio.sleep(0.1)
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        assert not later.done()
    await later
    assert await batches(opened, "t5") == [-1, 1]


async def test_a_group_outlasts_a_caller_that_was_cancelled(
    opened: Checkpointer, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grace period of one ends nobody else's transaction."""
    monkeypatch.setattr("threadlog.runtime.batcher.GRACE_SECONDS", 0.1)
    sent = sent_by(opened)

    async def group_inserts() -> bool:
        return sum("INSERT INTO cubepi_messages" in statement for statement in sent) > 2

    async with locked(server_url, "elsewhere") as intruder, patience():
        # Without the thread's lock: the group takes the thread, and waits for its messages.
        await intruder.execute(text(INTRUSION[intruder.dialect.name]))
        appends = [asyncio.create_task(opened.append(f"t{n}", said(n))) for n in range(WRITERS)]
        await asyncio.gather(*appends[:2])
        await until(group_inserts)  # what is cancelled before that is left out
        appends[7].cancel()
        with pytest.raises(asyncio.CancelledError):
            await appends[7]
        assert not any(append.done() for append in (*appends[2:7], *appends[8:]))
        await intruder.rollback()
        await asyncio.gather(*appends[2:7], *appends[8:])
    for n in range(WRITERS):
        assert await batches(opened, f"t{n}") == [-1, n]


async def test_cancelling_any_of_sixteen_stores_whole_batches_or_nothing(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled caller takes nothing from the others of its group."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    rounds = 40
    async with Checkpointer(database_url, max_pool_size=4) as checkpointer:
        done: dict[int, bool] = {}

        async def one(number: int) -> None:
            append = asyncio.create_task(
                checkpointer.append(f"t{number % 5}", said(number, dice.randint(1, 3)))
            )
            if dice.random() < 0.5:
                await asyncio.sleep(dice.random() * 0.01)
                append.cancel()
            try:
                await append
            except asyncio.CancelledError:
                done[number] = False
            else:
                done[number] = True

        broken: list[object] = []
        for engine in engines_of(checkpointer):
            event.listen(engine, "invalidate", lambda *given: broken.append(given))
        for start in range(0, rounds * WRITERS, WRITERS):
            await asyncio.gather(*map(one, range(start, start + WRITERS)))
        assert_idle(checkpointer)
        stored = [n for thread in range(5) for n in await batches(checkpointer, f"t{thread}")]
    cancelled = [number for number, ok in done.items() if not ok]
    print(f"{len(cancelled)} of {len(done)} cancelled, {len({*cancelled} & {*stored})} stored")
    assert len(stored) == len({*stored})
    assert {number for number, ok in done.items() if ok} <= {*stored}
    assert 10 < len(cancelled) < len(done) - 10
    assert broken == []
    assert caplog.records == []


async def test_closing_refuses_what_waits_at_once(server_url: str) -> None:
    """An append that waits for a locked thread is refused at once, and not stored."""
    checkpointer = Checkpointer(server_url)
    await checkpointer.__aenter__()
    await checkpointer.append("t", said(0))
    async with locked(server_url, "t") as holder, patience():
        appends = [asyncio.create_task(checkpointer.append("t", said(n))) for n in range(1, 5)]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(checkpointer.__aexit__(None, None, None))
        outcomes = await asyncio.gather(*appends[1:], return_exceptions=True)
        assert all(isinstance(outcome, NotOpenError) for outcome in outcomes)
        await holder.rollback()
        await asyncio.gather(appends[0], closing)
    async with checkpointer:
        assert await batches(checkpointer, "t") == [0, 1]


async def test_a_busy_thread_lets_others_go(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one connection what is left of a thread goes behind other threads."""
    monkeypatch.setattr("threadlog.runtime.batcher._MOST_REQUESTS", 4)
    done: list[str] = []
    async with Checkpointer(sqlite_url) as checkpointer:

        async def one(thread_id: str, number: int) -> None:
            await checkpointer.append(thread_id, said(number))
            done.append(thread_id)

        await asyncio.gather(*(one("busy", n) for n in range(40)), one("other", 0))
        assert await batches(checkpointer, "busy") == list(range(40))
    assert done.index("other") < 20


async def test_what_is_put_back_waits_no_longer_than_it_may(
    opened: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, ends = queue_of(opened), asyncio.Event()
    queue.pool.wait_seconds = 0.1

    async def run(*_: object) -> list[Outcome]:
        (batch,) = queue._batches
        try:
            if len(batch.requests) == 1:
                if batch.requests[0].request.size is None:  # put back
                    await ends.wait()
                return [range(1, 2)]
            await asyncio.sleep(0.3)
            return [Busy() for _ in batch.requests]
        finally:
            queue.pool.slots.release()

    monkeypatch.setattr(queue.pool, "run", run)
    async with patience():
        appends = [asyncio.create_task(opened.append("t0", said(n))) for n in range(6)]
        outcomes = await asyncio.gather(*appends[2:], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [PoolTimeoutError] * 4
        ends.set()
        await asyncio.gather(*appends[:2])


async def test_a_server_that_takes_no_writes_is_asked_once_for_a_group(
    opened: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caller is told, instead of waiting for an election by itself."""
    calls = 0

    async def run(*_: object) -> list[Outcome]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        queue_of(opened).pool.slots.release()
        raise NotWritableError("read-only")

    monkeypatch.setattr(queue_of(opened).pool, "run", run)
    appends = (opened.append(f"t{n}", said(n)) for n in range(WRITERS))
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotWritableError] * WRITERS
    assert calls == 3
