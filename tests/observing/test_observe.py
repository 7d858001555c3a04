"""Events: calls, retries, batches and waits; nothing of a message in them."""

import asyncio
import sys
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of
from tests.support.factories import UserFactory
from tests.support.patience import eventually
from tests.support.ways import open_engine
from threadlog import Checkpointer, Database, SyncCheckpointer, observe
from threadlog.errors import (
    ConfigurationError,
    NotOpenError,
    PoolTimeoutError,
    RunAlreadyClaimedError,
)
from threadlog.events import (
    BatchSent,
    CallEnded,
    CommitLost,
    ConnectionAwaited,
    Event,
    TransactionRetried,
)
from threadlog.langgraph import Saver, Store
from threadlog.messages import TextContent
from threadlog.runtime.sync_client import SyncEngineClient


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection that kills others."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def calls(events: list[Event]) -> list[tuple[str, str | None, type[BaseException] | None]]:
    """Return method, thread and error of each call, after checking that it took some time."""
    found = [event for event in events if isinstance(event, CallEnded)]
    assert all(event.seconds > 0 for event in found)
    errors = [None if each.error is None else type(each.error) for each in found]
    return [(each.method, each.thread_id, error) for each, error in zip(found, errors, strict=True)]


async def test_each_call_is_an_event_with_its_error(database_url: str) -> None:
    events: list[Event] = []
    async with Checkpointer(database_url) as checkpointer:
        observe(checkpointer, events.append)
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.claim_run("t", run_id="r")
        with pytest.raises(RunAlreadyClaimedError):
            await checkpointer.claim_run(thread_id="t", run_id="r")
        assert [stored.seq async for stored in checkpointer.stream("t")] == [1]
        await checkpointer.list_threads()
    assert calls(events) == [
        ("append", "t", None),
        ("claim_run", "t", None),
        ("claim_run", "t", RunAlreadyClaimedError),
        ("read", "t", None),
        ("read", "t", None),
        ("list_threads", None, None),
    ]
    assert BatchSent(1) in events


async def test_the_event_of_an_owners_erasure_does_not_name_the_owner(sqlite_url: str) -> None:
    events: list[Event] = []
    async with Checkpointer(sqlite_url) as checkpointer:
        observe(checkpointer, events.append)
        await checkpointer.erase_owner("ann")
        await checkpointer.erase_thread("t")
    assert calls(events) == [("erase_owner", None, None), ("erase_thread", "t", None)]


async def test_two_observers_get_the_same_events(sqlite_url: str) -> None:
    first: list[Event] = []
    second: list[Event] = []
    async with Checkpointer(sqlite_url) as checkpointer:
        observe(checkpointer, first.append)
        observe(checkpointer, second.append)
        await checkpointer.append("t", [UserFactory()])
    kinds = [type(event) for event in first]
    assert kinds == [type(event) for event in second] == [BatchSent, CallEnded]


async def test_calls_in_a_scope_are_events(sqlite_url: str) -> None:
    events: list[Event] = []
    async with Checkpointer(sqlite_url) as checkpointer:
        observe(checkpointer, events.append)
        await checkpointer.scoped("ann").append("t", [UserFactory()])
        assert await checkpointer.scoped("bob").load("t") is None
    assert calls(events) == [("append", "t", None), ("load", "t", None)]
    async with open_engine(sqlite_url) as engine, AsyncSession(engine) as session:
        events.clear()
        async with Checkpointer(engine=engine) as checkpointer:
            observe(checkpointer, events.append)
            await checkpointer.bind(session).scoped("ann").read("t")
            await session.rollback()
    assert calls(events) == [("read", "t", None)]


async def test_what_the_objects_of_a_database_share_is_reported_once(sqlite_url: str) -> None:
    events: list[Event] = []
    async with Database(sqlite_url) as database:
        await database.setup()
        for each in (database.checkpointer, database.saver, database.store):
            observe(each, events.append)
        await database.checkpointer.append("t", [UserFactory()])
        await database.store.aput(("a",), "k", {"n": 1})
    assert [type(event) for event in events if not isinstance(event, CallEnded)] == [BatchSent]
    assert [event[0] for event in calls(events)] == ["append", "abatch"]


async def test_a_coroutine_function_is_refused(sqlite_url: str) -> None:
    async def on_event(event: Event) -> None:
        raise AssertionError(event)

    async with Checkpointer(sqlite_url) as checkpointer:
        with pytest.raises(ConfigurationError, match="plain function"):
            observe(checkpointer, on_event)  # type: ignore[arg-type]  # mistaken


def test_each_call_without_asyncio_is_an_event(sqlite_url: str) -> None:
    events: list[Event] = []
    with SyncCheckpointer(sqlite_url) as checkpointer:
        observe(checkpointer, events.append)
        checkpointer.append("t", [UserFactory()])
        assert len(checkpointer.read("t")) == 1
    assert calls(events) == [("append", "t", None), ("read", "t", None)]
    assert events[0] == BatchSent(1)


@pytest.mark.one_database
async def test_calls_on_an_applications_engine_and_session_are_events(database_url: str) -> None:
    events: list[Event] = []
    async with open_engine(database_url) as engine, Checkpointer(engine=engine) as checkpointer:
        observe(checkpointer, events.append)
        await checkpointer.append("t", [UserFactory()])
        async with AsyncSession(engine) as session:
            await checkpointer.bind(session).append("u", [UserFactory()])
            await session.commit()
    assert calls(events) == [("append", "t", None), ("append", "u", None)]


async def test_calls_of_a_saver_and_a_store_are_events(sqlite_url: str) -> None:
    events: list[Event] = []
    config = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    async with Saver(sqlite_url) as saver:
        observe(saver, events.append)
        await saver.aput(config, empty_checkpoint(), {}, {})  # type: ignore[arg-type]  # plain dicts
    async with Store(sqlite_url) as store:
        observe(store, events.append)
        await store.aput(("a",), "k", {})
    assert calls(events) == [("aput", "t", None), ("abatch", None, None)]


async def test_appends_that_wait_share_a_batch_and_a_call_waits(server_url: str) -> None:
    events: list[Event] = []
    async with Checkpointer(server_url, max_pool_size=1) as checkpointer:
        observe(checkpointer, events.append)
        appends = (checkpointer.append(f"t{n}", [UserFactory()]) for n in range(9))
        await asyncio.gather(*appends, *(checkpointer.load("t") for _ in range(3)))
    batches = [event.appends for event in events if isinstance(event, BatchSent)]
    assert sum(batches) >= 9
    assert max(batches) > 1
    waits = [event.seconds for event in events if isinstance(event, ConnectionAwaited)]
    assert waits
    assert min(waits) >= 0


@pytest.mark.one_database
def test_a_call_without_asyncio_that_waits_is_an_event(database_url: str) -> None:
    events: list[Event] = []
    with SyncCheckpointer(database_url, max_pool_size=1) as checkpointer:
        observe(checkpointer, events.append)
        call = threading.Thread(target=checkpointer.load, args=["t"])
        with held_connections(checkpointer):
            call.start()
            assert eventually(lambda: is_in(call, "_do_get"))
            assert events == []
        call.join()
    waited, ended = events
    assert isinstance(waited, ConnectionAwaited)
    assert isinstance(ended, CallEnded)
    assert 0 < waited.seconds < ended.seconds


@pytest.mark.one_database
def test_a_call_without_asyncio_that_waits_for_nothing_is_an_event(database_url: str) -> None:
    events: list[Event] = []
    url = make_url(database_url).update_query_dict({"pool_timeout": "0.1"})
    with SyncCheckpointer(url, max_pool_size=1) as checkpointer:
        observe(checkpointer, events.append)
        with held_connections(checkpointer), pytest.raises(PoolTimeoutError):
            checkpointer.load("t")
    assert [type(event) for event in events] == [ConnectionAwaited, CallEnded]


@contextmanager
def held_connections(checkpointer: SyncCheckpointer) -> Iterator[None]:
    """Hold the connections of a checkpointer in the block."""
    client = checkpointer.client
    assert isinstance(client, SyncEngineClient)
    with ExitStack() as held:
        for engine in (client.engine, client.reading_engine):
            if engine is not None:
                held.enter_context(engine.connect())
        yield


def is_in(thread: threading.Thread, function: str) -> bool:
    """Return True if a function of a name runs in a thread."""
    frames = traceback.walk_stack(sys._current_frames()[thread.ident or 0])
    return any(frame.f_code.co_name == function for frame, _ in frames)


async def test_a_lost_commit_and_a_retry_are_events_without_the_text(
    server_url: str, other: AsyncConnection
) -> None:
    events: list[Event] = []
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        observe(checkpointer, events.append)
        with lost_commits(engines_of(checkpointer)[0], other, arrives=False):
            content = [TextContent(text="what was said")]
            await checkpointer.append("t", [UserFactory(content=content), UserFactory()])
    kinds = Counter(type(event) for event in events)
    assert kinds == {BatchSent: 1, CommitLost: 1, TransactionRetried: 1, CallEnded: 1}
    assert "what was said" not in repr(events)


async def test_a_function_that_raises_changes_no_call(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("not today")

    async with Checkpointer(sqlite_url) as checkpointer:
        observe(checkpointer, fail)
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 1
    assert caplog.text.count("on_event raised an error") == 3


async def test_what_cannot_be_observed_is_refused(sqlite_url: str) -> None:
    for closed in (Checkpointer(sqlite_url), Saver(sqlite_url)):
        with pytest.raises(NotOpenError):
            observe(closed, print)
    with pytest.raises(ConfigurationError, match="lock cannot be observed"):
        observe(threading.Lock(), print)
