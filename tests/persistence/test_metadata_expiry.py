"""The contract of metadata stores: threads that expire."""

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from sqlalchemy import Connection, select

from tests.graph.saver.making import config_for, ids, put_chain
from tests.persistence.stores import InMemory, Opened, ago, run, thread
from tests.support.databases import on_connection
from tests.support.patience import patience, until
from threadlog.errors import CheckpointCorruptionError, InvalidInputError, StorageError
from threadlog.langgraph import Saver
from threadlog.models import graph_metadata
from threadlog.persistence import (
    ExpiredThread,
    InMemoryMetadataStore,
    MetadataStore,
    ThreadSearch,
    ThreadTtl,
    sweep_every,
)
from threadlog.persistence.expire_threads import expiring
from threadlog.persistence.registry import Persistence
from threadlog.repositories.metadata.run import AppRunRepository

# Whose text is that of a time long ago where its zone is overlooked.
IN_FIVE_HOURS = datetime.now(UTC) + timedelta(hours=5)
GRAPH_STATE = ["threadlog_checkpoints", "threadlog_checkpoint_blobs", "threadlog_checkpoint_writes"]


async def end(opened: Opened, thread_id: str, seconds: float = 60) -> None:
    """Set a thread's expiry to so long ago."""
    row = await opened.store.fetch_thread_row(thread_id)
    ttl = {**row["ttl"], "expires_at": ago(seconds).isoformat(timespec="microseconds")}
    await opened.behind.set_thread(thread_id, ttl=ttl)


async def expired(opened: Opened, **options: Any) -> list[str]:
    """Expire, and give the ids in order."""
    return [str(each.thread_id) for each in await opened.store.expire_threads(**options)]


async def test_what_is_over_is_deleted(opened: Opened) -> None:
    """An expired thread goes with its runs, and no other does; once."""
    over = await thread(opened.store, ttl=ThreadTtl(5))
    lives = await thread(opened.store, ttl=ThreadTtl(5))
    for_ever = await thread(opened.store)
    for thread_id in (over, lives, for_ever):
        run_id = await run(opened.store, thread_id)
        await opened.store.update_run_status(run_id, "success")
    await end(opened, over)
    assert await opened.store.expire_threads() == [ExpiredThread(UUID(over), "delete")]
    assert await opened.store.expire_threads() == []
    assert await opened.store.fetch_thread_row(over) is None
    assert len(await opened.behind.runs()) == 2
    found = await opened.store.search_thread_rows(ThreadSearch())
    assert {str(row["thread_id"]) for row in found} == {lives, for_ever}


async def test_the_clock_has_parts_of_a_second(opened: Opened) -> None:
    """A thread lives until its time is over, and no longer."""
    for seconds in (0.6, 6, 60):
        began = time.monotonic()
        short = await thread(opened.store, ttl=ThreadTtl(seconds / 60))
        at_once = await thread(opened.store, ttl=ThreadTtl(0))
        found = await expired(opened)
        if time.monotonic() - began < seconds:
            break
        if short not in found:  # a busy machine took longer than the thread lived
            assert await expired(opened) == [short]
    assert found == [at_once]
    await asyncio.sleep(seconds + 0.1)
    assert await expired(opened) == [short]


async def test_a_second_without_its_parts(opened: Opened) -> None:
    """Times which skeino wrote at a full second are compared as times."""
    for seconds, over in ((60, True), (-60, False)):
        thread_id = await thread(opened.store, ttl=ThreadTtl(5))
        full = ago(seconds).replace(microsecond=0)
        ttl = {"strategy": "delete", "ttl_minutes": 5.0, "expires_at": full.isoformat()}
        await opened.behind.set_thread(thread_id, ttl=ttl)
        assert await expired(opened) == ([thread_id] if over else [])


async def test_a_run_in_flight_keeps_its_thread(opened: Opened) -> None:
    thread_id = await thread(opened.store, ttl=ThreadTtl(0))
    run_id = await run(opened.store, thread_id)
    for status in ("pending", "running"):
        await opened.store.update_run_status(run_id, status)
        assert await expired(opened) == []
    assert await opened.store.fetch_run_row(thread_id, run_id) is not None
    await opened.store.update_run_status(run_id, "error")
    assert await expired(opened) == [thread_id]
    assert await opened.behind.runs() == []


async def test_longest_over_first(opened: Opened) -> None:
    made = [await thread(opened.store, ttl=ThreadTtl(5)) for _ in range(6)]
    for place, thread_id in enumerate(made):
        await end(opened, thread_id, 600 - 60 * place)
    await run(opened.store, made[0])
    await run(opened.store, made[1])
    assert await expired(opened, limit=2) == made[2:4]
    assert await expired(opened, limit=2) == made[4:]
    assert await expired(opened, limit=2) == []
    for limit in (0, None, "1"):
        with pytest.raises(InvalidInputError):
            await opened.store.expire_threads(limit=limit)


async def test_what_keeps_its_latest_is_armed_again(opened: Opened) -> None:
    """The row stays as it is but for its end, which is ttl_minutes from now."""
    thread_id = await thread(opened.store, metadata={"a": 1}, ttl=ThreadTtl(5, "keep_latest"))
    run_id = await run(opened.store, thread_id)
    await opened.store.update_run_status(run_id, "success")
    await opened.behind.set_thread(thread_id, updated_at=ago(1000))
    await end(opened, thread_id)
    before = await opened.store.fetch_thread_row(thread_id)
    assert await opened.store.expire_threads() == [ExpiredThread(UUID(thread_id), "keep_latest")]
    assert await opened.store.expire_threads() == []
    row = await opened.store.fetch_thread_row(thread_id)
    assert {**row, "ttl": None} == {**before, "ttl": None}
    assert {**row["ttl"], "expires_at": None} == {**before["ttl"], "expires_at": None}
    left = datetime.fromisoformat(row["ttl"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=4.5) < left < timedelta(minutes=5.1)
    assert await opened.behind.runs() == [run_id]
    await end(opened, thread_id)
    assert await expired(opened) == [thread_id]


async def graph_state(url: str) -> dict[str, int]:
    """Count the rows of graph state, by thread, in all three tables together."""

    def work(connection: Connection) -> dict[str, int]:
        found: Counter[str] = Counter()
        for table in (graph_metadata.tables[name] for name in GRAPH_STATE):
            found.update(connection.scalars(select(table.c.thread_id)).all())
        return dict(found)

    return await on_connection(url, work)


async def written(url: str, thread_id: str, length: int = 4) -> None:
    """Store graph state of a thread: a chain of checkpoints in each of two namespaces."""
    async with Saver(url) as saver:
        for checkpoint_ns in ("", "child:1"):
            for config in await put_chain(saver, thread_id, length, checkpoint_ns):
                await saver.aput_writes(config, [("step", 1)], "task")


async def test_graph_state_goes_too(stored: Opened) -> None:
    over, lives = [await thread(stored.store, ttl=ThreadTtl(5)) for _ in range(2)]
    await written(stored.url, over)
    await written(stored.url, lives)
    before = await graph_state(stored.url)
    assert set(before) == {over, lives}
    await end(stored, over)
    assert await expired(stored) == [over]
    assert await graph_state(stored.url) == {lives: before[lives]}


async def test_graph_state_is_pruned(stored: Opened) -> None:
    """The latest checkpoint of each namespace is kept, whole, and nothing else."""
    over, lives = [await thread(stored.store, ttl=ThreadTtl(5, "keep_latest")) for _ in "ab"]
    await written(stored.url, over)
    await written(stored.url, lives)
    before = await graph_state(stored.url)
    async with Saver(stored.url) as saver:
        latest = [await saver.aget_tuple(config_for(over, ns)) for ns in ("", "child:1")]
        await end(stored, over)
        assert await expired(stored) == [over]
        assert [await saver.aget_tuple(config_for(over, ns)) for ns in ("", "child:1")] == latest
        assert len(await ids(saver.alist(config_for(over)))) == 1
    after = await graph_state(stored.url)
    assert after[lives] == before[lives]
    assert after[over] < before[over] / 2
    assert (await stored.store.fetch_thread_row(over))["ttl"]["strategy"] == "keep_latest"


async def test_a_thread_is_expired_wholly_or_not_at_all(
    stored: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = await thread(stored.store, ttl=ThreadTtl(0))
    run_id = await run(stored.store, thread_id)
    await stored.store.update_run_status(run_id, "success")
    await written(stored.url, thread_id)
    before = await graph_state(stored.url)

    def fail(*_: object) -> None:
        raise StorageError("a disk is full")

    monkeypatch.setattr(AppRunRepository, "delete_all", fail)
    with pytest.raises(StorageError, match="disk"):
        await stored.store.expire_threads()
    assert await graph_state(stored.url) == before
    assert await stored.store.fetch_run_row(thread_id, run_id) is not None
    monkeypatch.undo()
    assert await expired(stored) == [thread_id]
    assert await graph_state(stored.url) == {}


async def test_a_time_to_live_that_cannot_be_read(stored: Opened) -> None:
    """Such a thread is named and left alone, and the others are handled."""
    made = [await thread(stored.store, ttl=ThreadTtl(5)) for _ in range(4)]
    for seconds, thread_id in enumerate(made):
        await end(stored, thread_id, 600 - 60 * seconds)
    base = {"ttl_minutes": 5, "expires_at": ago(700).isoformat()}
    await stored.behind.set_thread(made[0], ttl={**base, "strategy": "explode"})
    wrong = {**base, "strategy": "keep_latest", "ttl_minutes": "5"}
    await stored.behind.set_thread(made[2], ttl=wrong)
    for _ in range(2):
        with pytest.raises(CheckpointCorruptionError) as caught:
            await stored.store.expire_threads()
        assert caught.value.thread_id in {made[0], made[2]}
        left = [await stored.store.fetch_thread_row(thread_id) for thread_id in made]
        assert [row is not None for row in left] == [True, False, True, False]


@pytest.mark.parametrize(
    "ttl",
    [
        {},
        {"expires_at": None},
        {"expires_at": "2999"},
        {"expires_at": "soon"},
        {"expires_at": [1]},
        {"expires_at": 5},
        {"expires_at": IN_FIVE_HOURS.astimezone(timezone(-timedelta(hours=23))).isoformat()},
    ],
)
async def test_an_end_that_is_not_over(stored: Opened, ttl: dict[str, Any]) -> None:
    """Such a thread does not expire, whatever else somebody wrote into it."""
    thread_id = await thread(stored.store)
    base = {"strategy": "delete", "ttl_minutes": 5}
    await stored.behind.set_thread(thread_id, ttl={**base, **ttl})
    with suppress(CheckpointCorruptionError):
        assert await expired(stored) == []
    assert await stored.store.fetch_thread_row(thread_id) is not None


@pytest.mark.parametrize("end_of", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00+05:00"])
async def test_an_end_in_another_spelling(stored: Opened, end_of: str) -> None:
    """Ends which others wrote are read as the times that they are."""
    thread_id = await thread(stored.store)
    ttl = {"strategy": "delete", "ttl_minutes": 5, "expires_at": end_of}
    await stored.behind.set_thread(thread_id, ttl=ttl)
    assert await expired(stored) == [thread_id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "explode"},
        {"ttl_minutes": "5"},
        {"ttl_minutes": None},
        {"expires_at": "1"},
    ],
)
async def test_a_corrupt_time_to_live_is_named(stored: Opened, wrong: dict[str, Any]) -> None:
    thread_id = await thread(stored.store)
    base = {"strategy": "delete", "ttl_minutes": 5, "expires_at": ago(60).isoformat()}
    await stored.behind.set_thread(thread_id, ttl={**base, **wrong})
    with pytest.raises(CheckpointCorruptionError, match=thread_id) as caught:
        await stored.store.expire_threads()
    assert caught.value.table == "app_threads"
    assert await stored.store.fetch_thread_row(thread_id) is not None


# --- In memory, with a checkpointer --------------------------------------------------


async def test_the_checkpointer_of_a_store_in_memory_deletes() -> None:
    saver = InMemorySaver()
    store = InMemoryMetadataStore(saver)
    over, lives = await thread(store, ttl=ThreadTtl(0)), await thread(store)
    for thread_id in (over, lives):
        await put_chain(saver, thread_id, 2)
    assert [str(each.thread_id) for each in await store.expire_threads()] == [over]
    assert await saver.aget_tuple(config_for(over)) is None
    assert await saver.aget_tuple(config_for(lives)) is not None


class Pruning:
    """A checkpointer that says what it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[Any] = []
        self._errors = list(errors)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete."""
        await self._ask(("delete", thread_id))

    async def aprune(self, thread_ids: Any, *, strategy: str = "") -> None:
        """Prune."""
        await self._ask((strategy, *thread_ids))

    async def _ask(self, asked: Any) -> None:
        await asyncio.sleep(0)
        if self._errors:
            raise self._errors.pop()
        self.asked.append(asked)


async def test_the_checkpointer_of_a_store_in_memory_prunes() -> None:
    for errors, asked in (((), True), ((NotImplementedError(),), False)):
        checkpointer = Pruning(*errors)
        store = InMemoryMetadataStore(checkpointer)
        thread_id = await thread(store, ttl=ThreadTtl(5, "keep_latest"))
        opened = Opened(store, InMemory(store))
        await end(opened, thread_id)
        assert await expired(opened) == [thread_id]
        assert checkpointer.asked == ([("keep_latest", thread_id)] if asked else [])
        assert await expired(opened) == []


async def test_a_checkpointer_that_fails_leaves_the_thread() -> None:
    """A thread whose graph state could not be deleted expires the next time."""
    checkpointer = Pruning(OSError("no"))
    store = InMemoryMetadataStore(checkpointer)
    thread_id = await thread(store, metadata={"a": 1}, ttl=ThreadTtl(0))
    run_id = await run(store, thread_id)
    await store.update_run_status(run_id, "success")
    row = await store.fetch_thread_row(thread_id)
    with pytest.raises(OSError, match="no"):
        await store.expire_threads()
    assert await store.fetch_thread_row(thread_id) == row
    assert await store.fetch_run_row(thread_id, run_id) is not None
    assert [str(each.thread_id) for each in await store.expire_threads()] == [thread_id]
    assert checkpointer.asked == [("delete", thread_id)]


# --- In the background ----------------------------------------------------------------


async def test_sweeping_in_the_background(opened: Opened) -> None:

    async def is_gone() -> bool:
        return await opened.store.fetch_thread_row(thread_id) is None

    thread_id = await thread(opened.store, ttl=ThreadTtl(0))
    async with sweep_every(opened.store, 0.05):
        await until(is_gone)
        thread_id = await thread(opened.store, ttl=ThreadTtl(0))
        await until(is_gone)
    thread_id = await thread(opened.store, ttl=ThreadTtl(0))
    await asyncio.sleep(0.2)
    assert not await is_gone()


class Failing:
    """A store whose first sweeps fail."""

    def __init__(self, *outcomes: Any) -> None:
        self.sweeps = 0
        self._outcomes = list(outcomes)

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """Sweep."""
        self.sweeps += 1
        outcome = self._outcomes.pop(0) if self._outcomes else 0
        if isinstance(outcome, Exception):
            raise outcome
        return [ExpiredThread(UUID(int=0), "delete")] * min(int(outcome), limit)


async def test_a_sweep_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing(StorageError("gone"), OSError("no"), ValueError())
    with caplog.at_level(logging.INFO):
        async with patience(), sweep_every(store, 0.01):
            while store.sweeps < 5:  # noqa: ASYNC110 - it counts
                await asyncio.sleep(0.01)
    lines = [record.getMessage() for record in caplog.records if "threadlog" in record.name]
    assert len(lines) == 3
    assert "StorageError" in lines[0]
    assert "OSError: no" in lines[1]
    assert all(record.exc_info is None for record in caplog.records)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


async def test_the_block_is_not_disturbed_and_its_errors_are_its_own() -> None:
    """An exception of the block passes, and no task is left behind."""
    store = Failing(*[OSError("no")] * 100)
    with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
        async with sweep_every(store, 0.001):
            await asyncio.sleep(0.01)
            raise KeyError
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert store.sweeps > 0


async def test_a_full_sweep_is_followed_by_another_at_once() -> None:
    """Many threads do not wait for the next interval."""
    store = Failing(100, 100, 3)
    async with sweep_every(store, 60):
        for _ in range(10):
            await asyncio.sleep(0)
    assert store.sweeps == 3


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5", None])
async def test_what_is_no_interval(seconds: Any) -> None:
    with pytest.raises(InvalidInputError):
        async with sweep_every(Failing(), seconds):
            pass


async def test_a_store_that_is_closed_first(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing the store in the block does not break it, and sweeps say so."""
    store = MetadataStore(sqlite_url)
    await store.setup()
    async with sweep_every(store, 0.01):
        await store.aclose()
        await asyncio.sleep(0.05)
    assert "Expiring threads failed: NotOpenError" in caplog.text


class _Stubborn(InMemorySaver):
    """Fails to delete one thread."""

    stuck = ""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete, or fail."""
        if thread_id == self.stuck:
            raise OSError("no")
        await super().adelete_thread(thread_id)


async def test_one_graph_state_that_stays_keeps_no_other() -> None:
    """With separate databases all threads are tried before the error is raised."""
    saver, store = _Stubborn(), InMemoryMetadataStore()
    over = [await thread(store, ttl=ThreadTtl(0)) for _ in range(3)]
    for thread_id in over:
        await put_chain(saver, thread_id, 2)
    saver.stuck = over[0]
    separate = expiring(Persistence(saver, store), separate=True)
    assert separate is not None
    with pytest.raises(OSError, match="no"):
        await separate.expire_threads()
    left = [t for t in over if await saver.aget_tuple(config_for(t)) is not None]
    assert left == over[:1]
