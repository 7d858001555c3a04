"""Many writers at once: tasks, transactions of either isolation, and processes."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from tests.support.conversations import FILES, conversations
from tests.support.databases import engine_for, engines_of, on_connection, pools_of
from tests.support.factories import UserFactory
from tests.support.patience import keep_cancelling, patience, until
from tests.support.processes import PythonProcess
from tests.support.ways import sync_host_engine
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.databases.base import DatabaseFacts
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import DeadlockError, NotOpenError
from threadlog.importing import parse_conversation, read_file
from threadlog.log.append import append_messages
from threadlog.log.framework_types import VOCABULARY
from threadlog.messages import Message, UserMessage
from threadlog.models import MESSAGES
from threadlog.runtime.transactions import OwnedRunner

THREADS = 200
WRITERS = 8


_OF_PROCESSES: Final = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
_CONNECTIONS: Final = {
    "mysql": _OF_PROCESSES,
    "mariadb": _OF_PROCESSES,
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()",
}


def connections(connection: Connection) -> int:
    """Count the connections that the server has to this one's database, this one included."""
    count: int = connection.exec_driver_sql(_CONNECTIONS[connection.dialect.name]).scalar_one()
    return count


@asynccontextmanager
async def repeatable_read(url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine at MySQL's default level, as an application may have it."""
    engine = engine_for(url, isolation_level="REPEATABLE READ", pool_size=WRITERS)
    yield engine
    await engine.dispose()


class HostLevel:
    """A backend for a session whose level is not known to be READ COMMITTED."""

    read_committed = False

    def __init__(self, url: str) -> None:
        self._backend = backend_of(parse_url(url))

    def __getattr__(self, name: str) -> object:
        """Return the backend's attribute."""
        return getattr(self._backend, name)


async def append_on(engine: AsyncEngine, url: str, thread_id: str, said: list[Message]) -> int:
    """Append in a session of an external engine; return the number of attempts."""
    attempts = 0

    async def sleep(seconds: float) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(seconds)

    def run(session: Session) -> None:
        transactions = OwnedRunner(
            session,
            HostLevel(url),  # type: ignore[arg-type]  # a backend but for one attribute
            MESSAGES,
            DatabaseFacts(1_000_000),
            sleep=lambda seconds: await_only(sleep(seconds)),
            retry_seconds=30,
        )
        append_messages(transactions, VOCABULARY, thread_id, said)

    await AsyncSession(engine).run_sync(run)
    return attempts


async def assert_contiguous(url: str, thread_ids: list[str], length: int) -> None:
    """Assert that each thread has seq 1…length and every writer's message once."""
    async with Checkpointer(url) as checkpointer:
        for thread_id in thread_ids:
            stored = await checkpointer.read(thread_id)
            assert [s.seq for s in stored] == list(range(1, length + 1))
            assert {s.message.metadata["writer"] for s in stored} == set(range(length))


def by_writer(writer: int) -> list[Message]:
    """Create one writer's message."""
    return [UserMessage(content=[], metadata={"writer": writer})]


async def test_first_writers_race_under_read_committed(database_url: str) -> None:
    """8 first writers of one new thread, 200 times, meet no error."""
    ids = [f"t{number}" for number in range(THREADS)]
    async with Checkpointer(database_url, max_pool_size=WRITERS) as checkpointer:
        for thread_id in ids:
            await asyncio.gather(
                *(checkpointer.append(thread_id, by_writer(w)) for w in range(WRITERS))
            )
    await assert_contiguous(database_url, ids, WRITERS)


async def test_first_writers_race_under_repeatable_read(server_name: str, server_url: str) -> None:
    ids = [f"t{number}" for number in range(THREADS)]
    attempts = 0
    async with repeatable_read(server_url) as engine:
        for thread_id in ids:
            tries = await asyncio.gather(
                *(append_on(engine, server_url, thread_id, by_writer(w)) for w in range(WRITERS))
            )
            attempts += sum(tries)
    print(f"{THREADS} races of {WRITERS} first writers: {attempts} run again")
    await assert_contiguous(server_url, ids, WRITERS)
    # Measured: none. Locking the missing row first deadlocks in most of the races.
    assert attempts <= THREADS // 10 or server_name == "postgres"


async def test_hosts_that_have_read_append_under_repeatable_read(server_url: str) -> None:
    refused = 0

    async def write(engine: AsyncEngine, checkpointer: Checkpointer, writer: int) -> None:
        nonlocal refused
        said: list[Message] = [
            UserMessage(content=[], metadata={"w": writer, "n": n}) for n in range(10)
        ]
        while said:
            try:
                async with AsyncSession(engine) as session, session.begin():
                    bound = checkpointer.bind(session)
                    await bound.load("t", last=1)
                    await asyncio.sleep(0)
                    await bound.append("t", said[:1])
            except DeadlockError:
                refused += 1
            else:
                del said[0]

    async with repeatable_read(server_url) as engine, Checkpointer(engine=engine) as checkpointer:
        await asyncio.gather(*(write(engine, checkpointer, w) for w in range(WRITERS)))
        stored = [(s.seq, s.message.metadata) for s in await checkpointer.read("t")]
    print(f"{refused} run again")
    assert [seq for seq, _ in stored] == list(range(1, 10 * WRITERS + 1))
    for writer in range(WRITERS):
        assert [said["n"] for _, said in stored if said["w"] == writer] == list(range(10))


def test_plain_hosts_that_have_read_append_under_repeatable_read(server_url: str) -> None:
    engine = sync_host_engine(server_url, isolation_level="REPEATABLE READ", pool_size=WRITERS)

    def once(checkpointer: SyncCheckpointer, message: Message) -> bool:
        try:
            with Session(engine) as session, session.begin():
                bound = checkpointer.bind(session)
                bound.load("t", last=1)
                bound.append("t", [message])
        except DeadlockError:
            return False
        return True

    def write(checkpointer: SyncCheckpointer, writer: int) -> None:
        for n in range(10):
            message = UserMessage(content=[], metadata={"w": writer, "n": n})
            while not once(checkpointer, message):
                pass

    with SyncCheckpointer(engine=engine) as checkpointer:
        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(lambda writer: write(checkpointer, writer), range(WRITERS)))
        stored = [(s.seq, s.message.metadata) for s in checkpointer.read("t")]
    engine.dispose()
    assert [seq for seq, _ in stored] == list(range(1, 10 * WRITERS + 1))
    for writer in range(WRITERS):
        assert [said["n"] for _, said in stored if said["w"] == writer] == list(range(10))


async def test_each_writers_own_order_is_kept(checkpointer: Checkpointer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    sizes = [[dice.randint(1, 6) for _ in range(12)] for _ in range(WRITERS)]

    async def write(writer: int) -> None:
        count = 0
        for size in sizes[writer]:
            batch: list[Message] = [
                UserMessage(content=[], metadata={"writer": writer, "n": count + place})
                for place in range(size)
            ]
            await checkpointer.append("t", batch)
            count += size

    await asyncio.gather(*map(write, range(WRITERS)))
    stored = await checkpointer.read("t")
    assert [s.seq for s in stored] == list(range(1, sum(map(sum, sizes)) + 1))
    for writer in range(WRITERS):
        mine = [s.message.metadata["n"] for s in stored if s.message.metadata["writer"] == writer]
        assert mine == list(range(sum(sizes[writer])))
    # Inside a batch no other writer's message stands.
    position = dict.fromkeys(range(WRITERS), 0)
    remaining = list(stored)
    while remaining:
        writer = int(str(remaining[0].message.metadata["writer"]))
        size = sizes[writer][position[writer]]
        assert {s.message.metadata["writer"] for s in remaining[:size]} == {writer}
        position[writer] += 1
        remaining = remaining[size:]


async def test_appends_of_separate_clients_stay_whole(server_url: str) -> None:
    """Of a few messages an append locks the thread and inserts in one statement."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Checkpointer(server_url)) for _ in range(4)]
        await clients[0].claim_run("t", "r")
        await clients[0].append("t", by_writer(-1))

        async def write(writer: int) -> None:
            for number in range(30):
                run_id = "r" if number % 2 else None
                said = [
                    UserMessage(
                        content=[], metadata={"append": f"{writer} {number}"}, run_id=run_id
                    )
                    for _ in range(2 + number % 3)
                ]
                await clients[writer].append("t", said)

        await asyncio.gather(*map(write, range(4)))
        stored = (await clients[0].read("t"))[1:]
    assert [s.seq for s in stored] == list(range(2, 2 + 4 * 90))
    appends = [key for key, _ in groupby(str(s.message.metadata["append"]) for s in stored)]
    assert sorted(appends) == sorted(f"{writer} {n}" for writer in range(4) for n in range(30))


WRITE = """
import asyncio, json, sys
from threadlog import Checkpointer
from threadlog.errors import DeadlockError, NotOpenError
from threadlog.messages import TextContent, UserMessage

async def main(url, writer, threads, count):
    async with Checkpointer(url) as checkpointer:
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(count):
            for thread in range(threads):
                text = TextContent(text=f"message {n} " + "x" * 500)
                message = UserMessage(content=[text], metadata={"writer": writer, "n": n})
                await checkpointer.append(f"t{thread}", [message])

asyncio.run(main(*json.loads(sys.argv[1])))
"""


# On PostgreSQL an append that races with another one may be run again, which is logged.
_AGAIN = "Running a transaction again: duplicate key"


async def run_processes(scripts: Sequence[Sequence[str]]) -> None:
    """Run Python scripts with arguments; they go on together when all of them are ready."""
    started = [PythonProcess("-c", *script) for script in scripts]
    for process in started:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    communicate = [asyncio.to_thread(process.communicate, "go\n") for process in started]
    for printed, logged in await asyncio.gather(*communicate):
        again = [each for each in logged.splitlines() if not each.startswith(_AGAIN)]
        assert (printed, again) == ("", []), logged
    assert [process.returncode for process in started] == [0] * len(scripts)


async def run_writers(url: str, processes: int, threads: int, count: int) -> None:
    """Run processes that append to the same threads."""
    arguments = [json.dumps([url, writer, threads, count]) for writer in range(processes)]
    await run_processes([[WRITE, argument] for argument in arguments])


@pytest.mark.processes
async def test_four_processes_append_to_the_same_threads(database_url: str) -> None:
    processes, threads, count = 4, 5, 40
    await run_writers(database_url, processes, threads, count)
    async with Checkpointer(database_url) as checkpointer:
        for thread in range(threads):
            stored = await checkpointer.read(f"t{thread}")
            assert [s.seq for s in stored] == list(range(1, processes * count + 1))
            said = [s.message.metadata for s in stored]
            for writer in range(processes):
                mine = [metadata["n"] for metadata in said if metadata["writer"] == writer]
                assert mine == list(range(count))


REPLAY = """
import asyncio, sys
from pathlib import Path
from threadlog import Checkpointer
from threadlog.importing import parse_conversation, read_file

async def main(url, file, writer):
    items = read_file(Path(file).open("rb"))
    conversations = [parse_conversation(item.raw, f"t{item.number}") for item in items]
    async with Checkpointer(url) as checkpointer:
        print("ready", flush=True)
        sys.stdin.readline()
        for conversation in conversations:
            said = conversation.messages
            for message in said:
                message.metadata["writer"] = writer
            for start in range(0, len(said), 4):
                await checkpointer.append(conversation.thread_id, said[start : start + 4])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.processes
async def test_four_processes_replay_real_conversations_into_the_same_threads(
    database_url: str, tmp_path: Path
) -> None:
    file = conversations(FILES[-1], tmp_path)
    writers = ["a", "b", "c", "d"]
    await run_processes([[REPLAY, database_url, str(file), writer] for writer in writers])
    total = 0
    async with Checkpointer(database_url) as checkpointer:
        with file.open("rb") as lines:
            replayed = [
                parse_conversation(item.raw, f"t{item.number}") for item in read_file(lines)
            ]
        for conversation in replayed:
            stored = await checkpointer.read(conversation.thread_id)
            total += len(stored)
            assert [s.seq for s in stored] == list(range(1, 4 * len(conversation.messages) + 1))
            by: dict[object, list[Message]] = {}
            for s in stored:
                by.setdefault(s.message.metadata.pop("writer"), []).append(s.message)
            assert by == dict.fromkeys(writers, conversation.messages)
    print(f"{total} messages of {len(replayed)} conversations by {len(writers)} processes")


@pytest.mark.processes
async def test_eight_processes_create_one_sqlite_file(sqlite_url: str) -> None:
    """First use by many processes at once makes one schema."""
    await run_writers(sqlite_url, processes=8, threads=1, count=3)
    async with Checkpointer(sqlite_url) as checkpointer:
        assert [s.seq for s in await checkpointer.read("t0")] == list(range(1, 25))


async def test_load_sees_messages_and_extra_of_one_moment(checkpointer: Checkpointer) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        for n in range(1, 60):
            await checkpointer.append("t", [UserFactory()])
            await checkpointer.save_extra("t", {"count": n})
        stop.set()

    async def watch() -> int:
        looks = 0
        while not stop.is_set():
            data = await checkpointer.load("t")
            if data is not None and data.extra:
                assert len(data.messages) - data.extra["count"] in {0, 1}
                looks += 1
        return looks

    looks, _ = await asyncio.gather(watch(), write())
    assert looks > 10


async def test_a_busy_task_does_not_starve_others(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        loads = 0
        stop = asyncio.Event()

        async def read_without_pause() -> None:
            nonlocal loads
            while not stop.is_set() and loads < 2_000:
                await checkpointer.load("t")
                loads += 1

        async def write() -> None:
            for _ in range(10):
                await checkpointer.append("t", [UserFactory()])
            stop.set()

        await asyncio.gather(read_without_pause(), write())
        assert loads <= 40, "an append waits for one load at the most"


@pytest.mark.parametrize("size", [3])
async def test_closing_lets_what_runs_finish(server_url: str, size: int) -> None:
    """Closing leaves no connection, and says to those that wait why."""
    others = await on_connection(server_url, connections)
    checkpointer = Checkpointer(server_url, max_pool_size=size)
    await checkpointer.__aenter__()
    appends = [
        asyncio.create_task(checkpointer.append(f"t{n}", [UserFactory()])) for n in range(12)
    ]
    await asyncio.sleep(0)
    await checkpointer.__aexit__(None, None, None)
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(outcome, NotOpenError) for outcome in refused)
    writing = 2  # of three connections one is for reading
    assert len(outcomes) - len(refused) == writing

    async def all_others_are_closed() -> bool:  # by the server too, a moment later
        return await on_connection(server_url, connections) == others

    await until(all_others_are_closed)
    async with checkpointer:
        assert len(await checkpointer.list_threads()) == writing


@pytest.mark.parametrize("cancelled", [False, True])
async def test_connections_that_come_back_after_closing_are_closed(
    server_url: str, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool
) -> None:
    """Closing too early for what runs leaves no connection in the end."""
    monkeypatch.setattr("threadlog.runtime.client.GRACE_SECONDS", 0.2)
    holder = engine_for(server_url)
    async with holder.connect() as connection:
        others = await connection.run_sync(connections)
        checkpointer = Checkpointer(server_url)
        await checkpointer.__aenter__()
        await checkpointer.append("t", [UserFactory()])
        await connection.execute(text("SELECT * FROM cubepi_threads FOR UPDATE"))
        append = asyncio.create_task(checkpointer.append("t", [UserFactory()]))
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(checkpointer.__aexit__(None, None, None))
        if cancelled:
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.wait({closing})
        assert closing.cancelled() is cancelled
        await connection.commit()
        await append

        async def all_others_are_closed() -> bool:
            return await connection.run_sync(connections) == others

        await until(all_others_are_closed)
    await holder.dispose()


async def test_closing_that_is_cancelled_again_and_again_closes_the_connections(
    server_url: str,
) -> None:
    others = await on_connection(server_url, connections)

    async def use(opened: asyncio.Event) -> None:
        async with Checkpointer(server_url, min_pool_size=3) as checkpointer:
            await checkpointer.append("t", [UserFactory()])
            opened.set()
            await asyncio.Event().wait()

    opened = asyncio.Event()
    task = asyncio.create_task(use(opened))
    await opened.wait()
    await keep_cancelling(task)

    async def all_others_are_closed() -> bool:
        return await on_connection(server_url, connections) == others

    await until(all_others_are_closed)


async def test_reads_do_not_wait_behind_blocked_writers(server_url: str) -> None:
    """Reads keep to their connections where those that write are all taken."""
    holder = engine_for(server_url)
    async with Checkpointer(server_url) as checkpointer, holder.connect() as connection:
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.append("other", [UserFactory()])
        await connection.execute(
            text("SELECT * FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE")
        )
        appends = [asyncio.create_task(checkpointer.append("t", [UserFactory()])) for _ in range(7)]
        await asyncio.sleep(0.2)
        async with patience():
            await asyncio.gather(*(checkpointer.load("other") for _ in range(20)))
        assert not any(append.done() for append in appends)
        await connection.commit()
        await asyncio.gather(*appends)
    await holder.dispose()


async def test_cancelled_operations_leave_whole_batches_and_a_working_pool(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancellation anywhere stores a batch wholly or not, and leaks nothing."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with Checkpointer(database_url, max_pool_size=4) as checkpointer:

        async def one(number: int) -> bool:
            batch: list[Message] = [
                UserMessage(content=[], metadata={"b": number, "n": n}) for n in range(3)
            ]
            try:
                limit = 3 * usual * dice.random() ** 2
                await asyncio.wait_for(checkpointer.append("t", batch), limit)
            except TimeoutError:
                return False
            return True

        broken: list[object] = []
        for engine in engines_of(checkpointer):
            event.listen(engine, "invalidate", lambda *given: broken.append(given))
        begun = time.monotonic()  # a busy machine takes longer: limits follow it
        await asyncio.gather(*(checkpointer.append(f"u{n}", by_writer(n)) for n in range(6)))
        usual = time.monotonic() - begun
        done: list[bool] = []
        for start in range(0, 150, 6):
            done += await asyncio.gather(*map(one, range(start, start + 6)))
        stored = await checkpointer.read("t")
        assert not any(pool.checkedout() for pool in pools_of(checkpointer))
    print(f"{done.count(False)} of {len(done)} cancelled")
    assert caplog.records == []
    assert broken == [], "a transaction was broken off, and its connection with it"
    assert 10 < done.count(False) < 140, "too few of either kind to say anything"
    assert [s.seq for s in stored] == list(range(1, len(stored) + 1))
    numbers = [s.message.metadata["b"] for s in stored[::3]]
    assert [(s.message.metadata["b"], s.message.metadata["n"]) for s in stored] == [
        (number, n) for number in numbers for n in range(3)
    ]
    assert {n for n, ok in enumerate(done) if ok} <= set(map(int, map(str, numbers)))
    assert len(numbers) == len(set(map(str, numbers)))
