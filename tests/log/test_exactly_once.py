"""A connection that is lost during COMMIT: nothing is stored twice, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from tests.support.commits import kill_connection, lost_commits, number_of
from tests.support.databases import engine_for, engines_of
from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import CommitOutcomeUnknownError, RunNotClaimedError, StorageError
from threadlog.messages import Message, UserMessage
from threadlog.repositories.log import message

WRITERS = 16


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer with a thread of one message, and an open run."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        await checkpointer.claim_run("t", "open")
        yield checkpointer


@pytest.fixture
async def impatient(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer that does not retry for long, with a thread of one message."""
    async with Checkpointer(server_url, retry_seconds=1) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        yield checkpointer


@pytest.fixture(params=["done", "not done"])
def arrival(request: pytest.FixtureRequest) -> str:
    """Return whether the server has executed the COMMIT whose answer is lost."""
    return str(request.param)


class DeadlockFoundError(Exception):
    """A deadlock error as a driver raises it: MySQL's number is among the arguments."""

    sqlstate = "40P01"


async def ids(checkpointer: Checkpointer, thread_id: str) -> list[str]:
    """Return the ids of a thread's messages after asserting that their seqs have no gap."""
    stored = await checkpointer.read(thread_id)
    assert [s.seq for s in stored] == list(range(1, len(stored) + 1))
    return [s.message.id for s in stored]


def said(*names: str) -> list[Message]:
    """Create messages of certain ids."""
    return [UserMessage(content=[], id=name) for name in names]


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("times", [1, 3])
async def test_an_append_is_stored_once(
    opened: Checkpointer,
    other: AsyncConnection,
    arrival: str,
    times: int,
    names: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lost COMMIT, done or not, costs the caller nothing but time, and is logged."""
    engine = engines_of(opened)[0]
    with lost_commits(engine, other, arrives=arrival == "done", times=times) as killed:
        await opened.append("t", said(*names))
    # What arrived needs no second transaction that inserts; one that looks has no COMMIT.
    assert len(killed) == (1 if arrival == "done" else times)
    assert caplog.text.count("The connection was lost during COMMIT") == len(killed)
    assert (await ids(opened, "t"))[1:] == [*names]
    await opened.append("t", said("c"))
    assert (await ids(opened, "t"))[1:] == [*names, "c"]


async def test_a_place_that_is_not_returned_is_an_error(
    mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored whose place, if its COMMIT is lost, would not be known."""
    async with Checkpointer(mysql_url) as checkpointer:
        await checkpointer.append("t", said("a"))
        # As from a proxy that does not pass LAST_INSERT_ID() on.
        monkeypatch.setattr(message, "divmod", lambda *_: (0, 0), raising=False)
        # as a proxy might
        with pytest.raises(StorageError, match="does not return the argument"):
            await checkpointer.append("t", said("b"))
        monkeypatch.undo()
        assert await ids(checkpointer, "t") == ["a"]


async def test_an_append_of_a_new_thread_is_stored_once(
    opened: Checkpointer, other: AsyncConnection, arrival: str
) -> None:
    engine = engines_of(opened)[0]
    with lost_commits(engine, other, arrives=arrival == "done"):
        await opened.append("new", said("a", "b"))
    assert await ids(opened, "new") == ["a", "b"]


async def test_each_append_of_a_group_is_stored_once(
    opened: Checkpointer, other: AsyncConnection, arrival: str
) -> None:
    threads = [f"t{n % 8}" for n in range(WRITERS)]
    for thread in threads[:8]:
        await opened.append(thread, said("first"))
    engine = engines_of(opened)[0]
    with lost_commits(engine, other, arrives=arrival == "done", times=3) as killed:
        await asyncio.gather(
            *(opened.append(thread, said(f"{n}", f"{n}'")) for n, thread in enumerate(threads))
        )
    assert len(killed) == 3
    for n in range(8):
        assert await ids(opened, f"t{n}") == ["first", f"{n}", f"{n}'", f"{n + 8}", f"{n + 8}'"]


async def test_a_plain_append_is_stored_once(
    server_url: str, opened: Checkpointer, other: AsyncConnection, arrival: str
) -> None:

    def append(loop: asyncio.AbstractEventLoop) -> None:
        with SyncCheckpointer(server_url) as checkpointer:
            engine = checkpointer.client.engine  # type: ignore[union-attr]  # of a URL
            assert engine is not None
            killed = False

            def kill(connection: Connection) -> None:
                nonlocal killed
                if killed:
                    return
                killed = True
                number = number_of(connection)
                if arrival == "done":
                    connection.exec_driver_sql("COMMIT")
                asyncio.run_coroutine_threadsafe(kill_connection(other, number), loop).result()

            event.listen(engine, "commit", kill)
            checkpointer.append("t", said("a", "b"))
            assert killed

    await asyncio.to_thread(append, asyncio.get_running_loop())
    assert (await ids(opened, "t"))[1:] == ["a", "b"]


async def test_what_others_appended_meanwhile_is_not_taken_for_ours(
    server_url: str, opened: Checkpointer, other: AsyncConnection
) -> None:
    """Seqs are not enough: the rows themselves are compared."""
    engine = engines_of(opened)[0]
    async with Checkpointer(server_url) as another:

        def append() -> None:
            await_only(another.append("t", said("x", "y")))

        with lost_commits(engine, other, arrives=False, then=append):
            await opened.append("t", said("a", "b"))
        with lost_commits(engine, other, arrives=True, then=append):
            await opened.append("t", said("c", "d"))
    assert (await ids(opened, "t"))[1:] == ["x", "y", "a", "b", "c", "d", "x", "y"]


async def test_identical_rows_are_only_looked_for_after_a_lost_commit(
    server_url: str, opened: Checkpointer, other: AsyncConnection
) -> None:
    """A try which was certainly rolled back does not count another's rows as ours."""
    engine = engines_of(opened)[0]
    tries, written = 0, False

    def deadlock(connection: Connection) -> None:
        nonlocal tries
        if not killed:
            return
        tries += 1
        if tries == 2:  # the try after the lost one, which found nothing
            raise OperationalError("COMMIT", {}, DeadlockFoundError(1213, "Deadlock found"))

    async with Checkpointer(server_url) as another:

        def append(connection: Connection) -> None:
            nonlocal written
            if tries == 2 and not written:
                written = True
                await_only(another.append("t", said("a")))

        with lost_commits(engine, other, arrives=False) as killed:
            event.listen(engine, "commit", deadlock)
            event.listen(engine, "begin", append)
            await opened.append("t", said("a"))
        event.remove(engine, "commit", deadlock)
        event.remove(engine, "begin", append)
    assert tries == 3
    assert (await ids(opened, "t"))[1:] == ["a", "a"]


async def test_append_whose_commit_ends_in_an_error_of_the_network_is_stored_once(
    opened: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy wraps an OSError of asyncpg in no error of its own."""
    dialect = engines_of(opened)[0].dialect
    commit = dialect.do_commit
    failed: list[OSError] = []

    def do_commit(connection: Any) -> None:
        commit(connection)
        if not failed:
            failed.append(ConnectionResetError("reset"))
            raise failed[0]

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    await opened.append("t", said("a", "b"))
    assert failed
    assert (await ids(opened, "t"))[1:] == ["a", "b"]


async def test_an_unknown_outcome_raises_commit_outcome_unknown(
    impatient: Checkpointer, other: AsyncConnection
) -> None:
    engine = engines_of(impatient)[0]
    with (
        lost_commits(engine, other, arrives=False, times=1_000) as killed,
        pytest.raises(CommitOutcomeUnknownError, match="Load the thread") as caught,
    ):
        await impatient.append("t", said("a"))
    assert len(killed) > 1
    assert caught.value.retryable is False
    assert caught.value.__cause__ is not None
    assert len(await ids(impatient, "t")) == 1
    await impatient.append("t", said("a"))
    assert len(await ids(impatient, "t")) == 2


async def test_every_caller_of_a_batch_gets_the_error(
    impatient: Checkpointer, other: AsyncConnection
) -> None:
    """Each gets an error of its own, and the next call works."""
    engine = engines_of(impatient)[0]
    with lost_commits(engine, other, arrives=False, times=1_000):
        outcomes = await asyncio.gather(
            *(impatient.append("t", said(f"{n}")) for n in range(4)), return_exceptions=True
        )
    assert all(isinstance(outcome, CommitOutcomeUnknownError) for outcome in outcomes)
    assert len({*map(id, outcomes)}) == 4
    await impatient.append("t", said("a"))
    assert (await ids(impatient, "t"))[1:] == ["a"]


Verb = Callable[[Checkpointer], Awaitable[object]]

VERBS: dict[str, tuple[Verb, object, object]] = {
    # What is called; what it gives where the lost COMMIT was done, and where it was not.
    "save_extra": (lambda c: c.save_extra("t", {"a": 1}), None, None),
    "save_pending_request": (
        lambda c: c.save_pending_request("t", HitlRequestFactory(), run_id="open"),
        None,
        None,
    ),
    "remove a pending request": (lambda c: c.save_pending_request("asked", None), None, None),
    "save_hitl_answer": (lambda c: c.save_hitl_answer("t", "q", "yes", run_id="open"), None, None),
    "clear_hitl_answers": (lambda c: c.clear_hitl_answers("t", None, run_id="open"), None, None),
    "mark_run_complete": (lambda c: c.mark_run_complete("t", "open"), None, None),
    "delete_thread": (lambda c: c.delete_thread("t"), True, True),
    "delete_thread of none": (lambda c: c.delete_thread("none"), False, False),
    "claim_run": (lambda c: c.claim_run("t", "r"), CommitOutcomeUnknownError, None),
    "release_run": (lambda c: c.release_run("t", "open"), None, CommitOutcomeUnknownError),
    "fork": (
        lambda c: c.fork("asked", "fork", after_run_id="done"),
        CommitOutcomeUnknownError,
        None,
    ),
    "clear_pending_request_if_matches": (
        lambda c: c.clear_pending_request_if_matches("asked", question_id="q", run_id="done"),
        CommitOutcomeUnknownError,
        True,
    ),
    "clear another request": (
        lambda c: c.clear_pending_request_if_matches("asked", question_id="z", run_id="done"),
        False,
        False,
    ),
}


# Nothing is committed.
_CHANGE_NOTHING: Final = {"delete_thread of none", "clear another request"}


@pytest.mark.parametrize("verb", VERBS)
async def test_other_verbs_are_done_once_or_say_that_they_cannot_know(
    opened: Checkpointer, other: AsyncConnection, verb: str, arrival: str
) -> None:
    await opened.claim_run("asked", "done")
    await opened.mark_run_complete("asked", "done")
    await opened.save_pending_request("asked", HitlRequestFactory(question_id="q"), run_id="done")
    call, if_done, if_not = VERBS[verb]
    expected = if_done if arrival == "done" else if_not
    with lost_commits(engines_of(opened)[0], other, arrives=arrival == "done") as killed:
        if expected is CommitOutcomeUnknownError:
            with pytest.raises(CommitOutcomeUnknownError):
                await call(opened)
        else:
            assert await call(opened) is expected
    assert len(killed) == (0 if verb in _CHANGE_NOTHING else 1)
    await assert_done(
        opened, verb, done=arrival == "done" or expected is not CommitOutcomeUnknownError
    )


async def assert_done(checkpointer: Checkpointer, verb: str, *, done: bool) -> None:
    """Assert that a verb has had its effect, or none, by what can be read."""
    match verb:
        case "save_extra":
            data = await checkpointer.load("t")
            assert data is not None
            assert data.extra == {"a": 1}
        case "save_pending_request":
            assert await checkpointer.load_pending_run_id("t") == "open"
        case "remove a pending request" | "clear_pending_request_if_matches":
            assert await checkpointer.load_pending("asked") is None
        case "save_hitl_answer":
            assert await checkpointer.load_hitl_answer("t", "q", run_id="open") == "yes"
        case "mark_run_complete":
            assert [run.state for run in await checkpointer.runs("t")] == ["completed"]
        case "delete_thread":
            assert await checkpointer.load("t") is None
        case "claim_run":
            assert [run.run_id for run in await checkpointer.runs("t")] == ["open", "r"]
        case "release_run":
            assert bool(await checkpointer.runs("t")) is not done
        case "fork":
            assert await checkpointer.load("fork") is not None


async def test_a_claim_that_was_made_since_is_not_released(
    server_url: str, opened: Checkpointer, other: AsyncConnection
) -> None:
    """A release which arrived does not take the run from its next owner."""
    async with Checkpointer(server_url) as another:

        def claim() -> None:
            await_only(another.claim_run("t", "open"))

        engine = engines_of(opened)[0]
        with (
            lost_commits(engine, other, arrives=True, then=claim),
            pytest.raises(CommitOutcomeUnknownError),
        ):
            await opened.release_run("t", "open", older_than=timedelta(0))
    assert [run.run_id for run in await opened.runs("t")] == ["open"]


async def test_a_refusal_is_no_lost_commit(opened: Checkpointer) -> None:
    """Errors of what the log holds stay what they are."""
    with pytest.raises(RunNotClaimedError):
        await opened.release_run("t", "never claimed")
