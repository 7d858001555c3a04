"""Appends of several threads through one synchronous checkpointer share transactions."""

import _thread
import asyncio
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, event, make_url, text

from tests.support.databases import execute
from tests.support.factories import UserFactory
from tests.support.patience import PATIENCE_SECONDS, eventually
from tests.support.ways import sync_host_engine
from threadlog import SyncCheckpointer
from threadlog.errors import ColumnTooShortError, NotOpenError, PoolTimeoutError
from threadlog.messages import UserMessage
from threadlog.runtime.batcher import RequestQueue

WRITERS: Final = 16

_SHORTER_OF_MYSQL: Final = "ALTER TABLE cubepi_messages MODIFY run_id VARCHAR(8)"
SHORTER: Final = {
    "mysql": _SHORTER_OF_MYSQL,
    "mariadb": _SHORTER_OF_MYSQL,
    "postgresql": "ALTER TABLE cubepi_messages ALTER COLUMN run_id TYPE VARCHAR(8)",
}


@pytest.fixture
def opened(server_url: str) -> Iterator[SyncCheckpointer]:
    """Yield a checkpointer with two connections that write, and 16 threads of one message."""
    with SyncCheckpointer(server_url, max_pool_size=3) as checkpointer:
        for number in range(WRITERS):
            checkpointer.append(f"t{number}", [UserFactory()])
        yield checkpointer


@pytest.fixture
def writers() -> Iterator[ThreadPoolExecutor]:
    """Yield an executor with a thread for each writer."""
    with ThreadPoolExecutor(WRITERS) as executor:
        yield executor


def queue_of(checkpointer: SyncCheckpointer) -> RequestQueue[Any]:
    """Return the queue of an open checkpointer."""
    assert checkpointer.batcher is not None
    return checkpointer.batcher._shared().queue


def waiting_in(checkpointer: SyncCheckpointer) -> int:
    """Return how many appends wait."""
    return sum(map(len, queue_of(checkpointer).waiting.values()))


@contextmanager
def held(checkpointer: SyncCheckpointer) -> Iterator[None]:
    """Hold up each transaction that writes at its first statement until the block ends."""
    engine = checkpointer.client.engine  # type: ignore[union-attr]  # of a URL
    assert isinstance(engine, Engine)
    released = threading.Event()

    def wait(*_: object) -> None:
        released.wait(PATIENCE_SECONDS)

    event.listen(engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        released.set()


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the sizes of batches are added as they start."""
    sizes: list[int] = []
    start = RequestQueue.start

    def note(queue: RequestQueue[Any], batch: Sequence[Any]) -> None:
        sizes.append(len(batch))
        start(queue, batch)

    monkeypatch.setattr(RequestQueue, "start", note)
    return sizes


def test_appends_that_wait_share_a_transaction(
    opened: SyncCheckpointer, writers: ThreadPoolExecutor, sizes: list[int]
) -> None:
    with held(opened):
        appends = [writers.submit(opened.append, f"t{n}", [UserFactory()]) for n in range(WRITERS)]
        assert eventually(lambda: waiting_in(opened) + sum(sizes) == WRITERS)
    for append in appends:
        append.result(PATIENCE_SECONDS)
    assert sum(sizes) == WRITERS
    assert max(sizes) > 1
    assert [len(opened.read(f"t{n}")) for n in range(WRITERS)] == [2] * WRITERS
    assert not queue_of(opened).running
    assert not waiting_in(opened)


def test_appends_to_one_thread_are_stored_without_a_gap(
    opened: SyncCheckpointer, writers: ThreadPoolExecutor
) -> None:
    def write(number: int) -> None:
        for turn in range(5):
            opened.append("t0", [UserMessage(content=[], metadata={"n": number, "turn": turn})])

    list(writers.map(write, range(WRITERS)))
    stored = opened.read("t0", after_seq=1)
    assert [each.seq for each in stored] == list(range(2, 2 + 5 * WRITERS))
    for number in range(WRITERS):
        own = [m.message.metadata for m in stored if m.message.metadata["n"] == number]
        assert [metadata["turn"] for metadata in own] == [0, 1, 2, 3, 4]


def test_appends_to_an_embedded_database_share_a_transaction(
    sqlite_url: str, writers: ThreadPoolExecutor, sizes: list[int]
) -> None:
    with SyncCheckpointer(sqlite_url) as opened:
        with held(opened):
            appends = [writers.submit(opened.append, "t", [UserFactory()]) for _ in range(WRITERS)]
            assert eventually(lambda: waiting_in(opened) == WRITERS - 1)
        for append in appends:
            append.result(PATIENCE_SECONDS)
        assert sizes == [1, WRITERS - 1]
        assert [each.seq for each in opened.read("t")] == [*range(1, 1 + WRITERS)]


def test_an_append_that_the_database_refuses_hinders_no_other(
    opened: SyncCheckpointer, writers: ThreadPoolExecutor, server_url: str
) -> None:
    asyncio.run(execute(server_url, SHORTER[make_url(server_url).get_backend_name()]))

    def write(number: int) -> None:
        run_id = "too long for it" if number in {4, 11} else "short"
        opened.append(f"t{number}", [UserFactory(run_id=run_id)])

    with held(opened):
        appends = [writers.submit(write, number) for number in range(WRITERS)]
        assert eventually(lambda: waiting_in(opened) > WRITERS // 2)
    outcomes = [append.exception(PATIENCE_SECONDS) for append in appends]
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [
        4,
        11,
    ]
    assert isinstance(outcomes[4], ColumnTooShortError)
    lengths = [len(opened.read(f"t{n}")) for n in range(WRITERS)]
    assert lengths == [1 if n in {4, 11} else 2 for n in range(WRITERS)]


def test_a_lost_connection_during_commit_stores_each_append_once(
    opened: SyncCheckpointer, writers: ThreadPoolExecutor, server_url: str
) -> None:
    """The transaction of a batch is looked for; its outcome is that of all of its appends."""
    engine = opened.client.engine  # type: ignore[union-attr]  # of a URL
    assert isinstance(engine, Engine)
    lost = 0

    def lose(connection: Connection) -> None:
        nonlocal lost
        if lost < 2:
            lost += 1
            connection.connection.driver_connection.commit()  # type: ignore[union-attr]  # checked out
            connection.connection.driver_connection.close()  # type: ignore[union-attr]  # checked out

    event.listen(engine, "commit", lose)
    with held(opened):
        appends = [writers.submit(opened.append, f"t{n}", [UserFactory()]) for n in range(WRITERS)]
        assert eventually(lambda: waiting_in(opened) > WRITERS // 2)
    for append in appends:
        append.result(PATIENCE_SECONDS)
    assert lost == 2
    assert [len(opened.read(f"t{n}")) for n in range(WRITERS)] == [2] * WRITERS


def test_batches_that_wait_for_a_lock_keep_back_no_other_append(
    server_url: str, writers: ThreadPoolExecutor
) -> None:
    blocker = sync_host_engine(server_url)
    with SyncCheckpointer(server_url) as opened:
        for name in ("a", "b", "c"):
            opened.append(name, [UserFactory()])
        with blocker.connect() as lock:
            for name in ("a", "b"):  # not at once: a scan would lock more
                query = "SELECT 1 FROM cubepi_threads WHERE thread_id = :name FOR UPDATE"
                lock.execute(text(query), {"name": name})
            blocked = [writers.submit(opened.append, name, [UserFactory()]) for name in "ab"]
            assert eventually(lambda: queue_of(opened).running == 2)
            for _ in range(3):
                writers.submit(opened.append, "c", [UserFactory()]).result(PATIENCE_SECONDS)
            assert not any(append.done() for append in blocked)
            lock.rollback()
        for append in blocked:
            append.result(PATIENCE_SECONDS)
        assert [len(opened.read(name)) for name in ("a", "b", "c")] == [2, 2, 4]
    blocker.dispose()


def test_waiting_for_a_thread_has_a_limit(database_url: str, writers: ThreadPoolExecutor) -> None:
    with SyncCheckpointer(f"{database_url}?pool_timeout=0.3") as opened:
        opened.append("t", [UserFactory()])
        with held(opened):
            running = writers.submit(opened.append, "t", [UserFactory()])
            assert eventually(lambda: queue_of(opened).running == 1)
            with pytest.raises(PoolTimeoutError, match=r"'t' was busy, for 0\.3 s"):
                opened.append("t", [UserFactory()])
        running.result(PATIENCE_SECONDS)
        assert len(opened.read("t")) == 2


def test_closing_refuses_what_waits(database_url: str, writers: ThreadPoolExecutor) -> None:
    with SyncCheckpointer(database_url) as opened:
        opened.append("t", [UserFactory()])
        with held(opened):
            running = writers.submit(opened.append, "t", [UserFactory()])
            assert eventually(lambda: queue_of(opened).running == 1)
            waiting = writers.submit(opened.append, "t", [UserFactory()])
            assert eventually(lambda: waiting_in(opened) == 1)
            opened.__exit__(None, None, None)
            assert isinstance(waiting.exception(PATIENCE_SECONDS), NotOpenError)
        running.result(PATIENCE_SECONDS)
    with SyncCheckpointer(database_url) as again:
        assert len(again.read("t")) == 2


def interrupt_main_thread_if_it_waits(checkpointer: SyncCheckpointer) -> None:
    """Do what Ctrl-C does, as soon as an append waits."""
    if eventually(lambda: waiting_in(checkpointer) == 1):
        _thread.interrupt_main()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Handle SIGINT as Python does, also in a run that a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_append_leaves_the_queue(
    database_url: str, writers: ThreadPoolExecutor
) -> None:
    with SyncCheckpointer(database_url) as opened:
        opened.append("t", [UserFactory()])
        with held(opened):
            running = writers.submit(opened.append, "t", [UserFactory()])
            assert eventually(lambda: queue_of(opened).running == 1)
            interrupt = threading.Thread(target=interrupt_main_thread_if_it_waits, args=(opened,))
            interrupt.start()
            with pytest.raises(KeyboardInterrupt):
                opened.append("t", [UserFactory()])
            interrupt.join()
            assert not waiting_in(opened)
        running.result(PATIENCE_SECONDS)
        opened.append("t", [UserFactory()])
        assert [each.seq for each in opened.read("t")] == [1, 2, 3]
