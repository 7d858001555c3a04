"""What waits for the one connection of an SQLite database shares a transaction."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from langchain_core.runnables import RunnableConfig
from sqlalchemy import Engine, event, make_url

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
from tests.graph.saver.test_write_ownership import engine_of
from tests.support.patience import patience, until
from tests.support.seeds import FRESH
from threadlog import Database, observe
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    NotOpenError,
    PoolTimeoutError,
    WriteOwnershipLostError,
)
from threadlog.events import ConnectionAwaited, Event
from threadlog.graph.client import GraphClient, PutRequest
from threadlog.langgraph import Saver, Store
from threadlog.messages import UserMessage
from threadlog.runtime import client
from threadlog.runtime.batcher import Batcher

GRAPHS = 16


class Transactions:
    """Counts the transactions of an engine that began."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "begin", self._begin)

    def _begin(self, connection: object) -> None:
        self.count += 1


@contextmanager
def locked(url: str) -> Iterator[sqlite3.Connection]:
    """Hold the database's write lock in another connection."""
    path = make_url(url).database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def put(saver: Saver, thread_id: str) -> RunnableConfig:
    """Store a checkpoint with two values."""
    checkpoint = checkpoint_of({"a": thread_id, "b": "x"})
    versions = checkpoint["channel_versions"]
    return await saver.aput(config_for(thread_id), checkpoint, metadata_of(), versions)


def batcher_of(saver: Saver | Store) -> Batcher[PutRequest, None]:
    """Return what runs the writes of an open saver or store that wait."""
    opened = saver._slot.client
    assert isinstance(opened, GraphClient)
    assert opened._batcher is not None
    return opened._batcher


async def stored(saver: Saver) -> set[str]:
    """Return the threads that have a checkpoint, after asserting that each has its values."""
    found = set()
    async for one in saver.alist(None):
        thread_id = one.config["configurable"]["thread_id"]
        assert one.checkpoint["channel_values"] == {"a": thread_id, "b": "x"}
        found.add(thread_id)
    return found


def names(*numbers: int) -> set[str]:
    """Return the threads of these numbers."""
    return {f"t{number}" for number in numbers}


async def test_graphs_that_wait_share_a_transaction(sqlite_url: str) -> None:
    async with Saver(sqlite_url) as saver:
        await put(saver, "first")
        transactions = Transactions(engine_of(saver))
        configs = await asyncio.gather(*(put(saver, f"t{n}") for n in range(64)))
        assert transactions.count == 2  # the first one alone
        await asyncio.gather(
            *(saver.aput_writes(config, [("w", 1), ("w", 2)], "task") for config in configs)
        )
        assert transactions.count == 4
        assert await stored(saver) == {"first", *names(*range(64))}
        for config in configs:
            found = await saver.aget_tuple(config)
            assert found is not None
            assert found.pending_writes == [("task", "w", 1), ("task", "w", 2)]


async def test_more_than_fit_share_several(sqlite_url: str) -> None:
    async with Saver(sqlite_url) as saver:
        await put(saver, "t0")
        transactions = Transactions(engine_of(saver))
        await asyncio.gather(*(put(saver, f"t{n}") for n in range(150)))
        assert transactions.count == 4
        assert await stored(saver) == names(*range(150))


async def test_memories_that_wait_share_a_transaction(sqlite_url: str) -> None:
    """Of several puts of one key the last call counts."""
    async with Store(sqlite_url) as store:
        await store.aput(("a",), "k", {"n": -1})
        transactions = Transactions(batcher_of(store).pool.engine)
        await asyncio.gather(
            *(store.aput(("a",), "k", {"n": n}) for n in range(GRAPHS)),
            store.adelete(("a",), "gone"),
            store.aput(("a",), "other", {"n": 0}),
        )
        assert transactions.count == 1  # the first is one statement, without a transaction
        found = await store.aget(("a",), "k")
        assert found is not None
        assert found.value == {"n": GRAPHS - 1}


async def test_refused_one_does_not_affect_the_others(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor those that wait behind its batch: it is run again alone."""
    async with Saver(sqlite_url) as saver:
        stale = await saver.aclaim_write_ownership("t64")
        await saver.aclaim_write_ownership("t64")
        outcomes = await asyncio.gather(
            *(put(stale if n == 64 else saver, f"t{n}") for n in range(67)),
            return_exceptions=True,
        )
        failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
        assert failed == [64]
        assert isinstance(outcomes[64], WriteOwnershipLostError)
        assert await stored(saver) == names(*range(67)) - {"t64"}
    assert [record.getMessage() for record in caplog.records] == [
        "Running the 64 calls of a batch one by one: WriteOwnershipLostError"
    ]


async def test_locked_database_is_waited_for_once(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of a batch is run again alone, as each would wait for as long again."""
    url = f"{sqlite_url}?timeout=0.1"
    async with Saver(url, retry_seconds=0) as saver:
        await put(saver, "before")
        with locked(sqlite_url):
            puts = (put(saver, f"t{n}") for n in range(GRAPHS))
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {CheckpointerLockTimeoutError}
        assert len({id(outcome) for outcome in outcomes}) == GRAPHS  # each has its own traceback
        assert await stored(saver) == {"before"}
    assert not [record for record in caplog.records if "one by one" in record.getMessage()]


async def test_cancelled_ones_leave_the_others_alone(sqlite_url: str) -> None:
    async with Saver(sqlite_url) as saver, patience():
        await put(saver, "before")
        batcher = batcher_of(saver)

        async def runs() -> bool:
            return any(len(batch.requests) > 1 for batch in batcher._batches)

        with locked(sqlite_url):
            puts = [asyncio.create_task(put(saver, f"t{n}")) for n in range(GRAPHS)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            puts[5].cancel()  # waits
            with pytest.raises(asyncio.CancelledError):
                await puts[5]
        await puts[0]
        with locked(sqlite_url):
            puts += [asyncio.create_task(put(saver, f"t{n}")) for n in range(GRAPHS, 2 * GRAPHS)]
            await until(runs)
            puts[-2].cancel()  # runs
        with pytest.raises(asyncio.CancelledError):
            await puts[-2]
        done = [n for n in range(2 * GRAPHS) if n not in {5, 2 * GRAPHS - 2}]
        await asyncio.gather(*(puts[n] for n in done))
        assert await stored(saver) - names(2 * GRAPHS - 2) == {"before", *names(*done)}


@pytest.mark.parametrize("seed", [FRESH])
async def test_cancelling_any_stores_each_wholly_or_not_at_all(sqlite_url: str, seed: int) -> None:
    print(f"seed {seed}")
    draw, kept, cancelled = random.Random(seed), set(), set()
    async with Saver(sqlite_url) as saver, patience():
        for round_ in range(20):
            puts = {
                f"r{round_}-{n}": asyncio.create_task(put(saver, f"r{round_}-{n}"))
                for n in range(GRAPHS)
            }
            for thread_id in draw.sample(sorted(puts), draw.randrange(GRAPHS)):
                await asyncio.sleep(draw.choice([0, 0, 0.001]))
                puts[thread_id].cancel()
            await asyncio.gather(*puts.values(), return_exceptions=True)
            cancelled |= {thread_id for thread_id, task in puts.items() if task.cancelled()}
            kept |= {thread_id for thread_id, task in puts.items() if not task.cancelled()}
        found = await stored(saver)
        print(f"{len(cancelled)} cancelled, {len(found & cancelled)} of them stored")
        assert cancelled
        assert kept <= found <= kept | cancelled


@pytest.mark.parametrize("seconds", [5.0, 0.1])
async def test_what_waits_when_the_saver_is_closed_is_refused(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Also if the call that runs takes longer than closing waits."""
    monkeypatch.setattr(client, "GRACE_SECONDS", seconds)
    saver = Saver(sqlite_url)
    async with patience():
        await saver.__aenter__()
        await put(saver, "before")
        with locked(sqlite_url):
            puts = [asyncio.create_task(put(saver, f"t{n}")) for n in range(2)]
            await asyncio.sleep(0)
            closing_ = asyncio.create_task(saver.__aexit__())
            await asyncio.wait({closing_}, timeout=0.3)
        await closing_
        first, second = await asyncio.gather(*puts, return_exceptions=True)
        assert not isinstance(first, BaseException)
        assert isinstance(second, NotOpenError)
    async with Saver(sqlite_url) as again:
        assert await stored(again) == {"before", "t0"}


async def test_put_does_not_overtake_those_that_wait(sqlite_url: str) -> None:
    """A connection is free for a moment before the dispatcher takes it."""
    async with Store(sqlite_url) as store:
        await store.aput(("a",), "k", {"n": 0})
        slots = batcher_of(store).pool.slots
        await slots.acquire()
        first = asyncio.create_task(store.aput(("a",), "k", {"n": 1}))
        asyncio.get_running_loop().call_soon(slots.release)
        second = asyncio.create_task(store.aput(("a",), "k", {"n": 2}))
        await asyncio.gather(first, second)
        found = await store.aget(("a",), "k")
        assert found is not None
        assert found.value == {"n": 2}


async def test_all_parts_of_a_database_share_its_connection(sqlite_url: str) -> None:
    async with Database(sqlite_url) as database, patience():
        message = UserMessage(content=[])
        await asyncio.gather(
            *(put(database.saver, f"t{n}") for n in range(GRAPHS)),
            *(database.checkpointer.append(f"t{n}", [message]) for n in range(GRAPHS)),
            *(database.store.aput(("a",), f"k{n}", {"n": n}) for n in range(GRAPHS)),
        )
        assert await stored(database.saver) == names(*range(GRAPHS))
        assert len(await database.store.asearch(("a",), limit=100)) == GRAPHS
        for n in range(GRAPHS):
            assert len(await database.checkpointer.read(f"t{n}")) == 1


async def test_call_of_another_event_loop_joins(sqlite_url: str) -> None:
    async with Saver(sqlite_url) as saver:

        async def elsewhere(number: int) -> None:
            await asyncio.to_thread(asyncio.run, put(saver, f"t{number}"))

        await asyncio.gather(
            *(put(saver, f"t{n}") for n in range(GRAPHS)),
            *(elsewhere(n) for n in range(GRAPHS, 2 * GRAPHS)),
        )
        assert await stored(saver) == names(*range(2 * GRAPHS))


async def test_waiting_for_the_connection_is_an_event_and_has_its_limit(sqlite_url: str) -> None:
    events: list[Event] = []
    async with Saver(f"{sqlite_url}?pool_timeout=0.2") as saver, patience():
        await put(saver, "before")
        observe(saver, events.append)
        with locked(sqlite_url):
            first = asyncio.create_task(put(saver, "t0"))
            await asyncio.sleep(0)
            puts = (put(saver, f"t{n}") for n in range(1, 4))
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {PoolTimeoutError}
        assert {str(outcome).partition(". ")[0] for outcome in outcomes} == {
            "No connection was free for 0.2 s"
        }
        await first
    waits = [each.seconds for each in events if isinstance(each, ConnectionAwaited)]
    assert len(waits) == 3
    assert min(waits) >= 0.2
