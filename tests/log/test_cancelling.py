"""Cancelling each method, at any moment."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, cast

import pytest
from sqlalchemy import QueuePool, event, text

from tests.support.databases import engine_for, engines_of, pools_of
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.matrix import rounds
from tests.support.patience import keep_cancelling, until
from tests.support.ways import host_engine
from threadlog import Checkpointer, MessageLog
from threadlog.log.hitl_request import HitlRequest
from threadlog.messages import Message

TIMES: Final = rounds(12)

MESSAGES: Final[list[Message]] = UserFactory.build_batch(3)
REQUEST: Final[HitlRequest] = HitlRequestFactory.build(question_id="q")
OTHER_REQUEST: Final[HitlRequest] = HitlRequestFactory.build(question_id="r")


async def stream(checkpointer: Checkpointer, thread_id: str) -> list[object]:
    """Read a thread by many statements."""
    return [stored async for stored in checkpointer.stream(thread_id, batch_size=1)]


async def export(checkpointer: Checkpointer, thread_id: str) -> list[object]:
    """Read a thread in several steps."""
    return [line async for line in checkpointer.export(threads=[thread_id])]


VERBS: Final[dict[str, Callable[[Checkpointer, str], Awaitable[object]]]] = {
    "load": lambda c, t: c.load(t),
    "append": lambda c, t: c.append(t, MESSAGES),
    "save_extra": lambda c, t: c.save_extra(t, {"key": 2, "other": None}),
    "read": lambda c, t: c.read(t),
    "stream": stream,
    "export": export,
    "list_threads": lambda c, t: c.list_threads(),
    "delete_thread": lambda c, t: c.delete_thread(t),
    "erase_thread": lambda c, t: c.erase_thread(t),
    "claim_run": lambda c, t: c.claim_run(t, "new"),
    "mark_run_complete": lambda c, t: c.mark_run_complete(t, "open"),
    "release_run": lambda c, t: c.release_run(t, "open"),
    "runs": lambda c, t: c.runs(t),
    "stale_runs": lambda c, t: c.stale_runs(timedelta(hours=1)),
    "snapshot": lambda c, t: c.snapshot(t, after_run_id="done"),
    "fork": lambda c, t: c.fork(t, f"{t}-fork", after_run_id="done"),
    "save_pending_request": lambda c, t: c.save_pending_request(t, OTHER_REQUEST, run_id="open"),
    "load_pending": lambda c, t: c.load_pending(t),
    "load_pending_request": lambda c, t: c.load_pending_request(t),
    "load_pending_run_id": lambda c, t: c.load_pending_run_id(t),
    "clear_pending_request_if_matches": lambda c, t: c.clear_pending_request_if_matches(
        t, question_id="q", run_id="open"
    ),
    "save_hitl_answer": lambda c, t: c.save_hitl_answer(t, "new", {"n": 1}),
    "load_hitl_answer": lambda c, t: c.load_hitl_answer(t, "q"),
    "clear_hitl_answers": lambda c, t: c.clear_hitl_answers(t, ["q"]),
}

OF_CONTROL: Final = {"renew", "release", "truncate", "truncations"}
"""The methods that need thread control; tests/editing cancels the last two."""

OF_ENCRYPTION: Final = {"reencrypt", "reencrypt_all"}
"""The methods that need an encryption; tests/encryption cancels them."""


async def prepare(checkpointer: Checkpointer, thread_id: str) -> None:
    """Create a thread with data for each method."""
    await checkpointer.append(thread_id, MESSAGES)
    await checkpointer.save_extra(thread_id, {"key": 1})
    await checkpointer.claim_run(thread_id, "done")
    await checkpointer.mark_run_complete(thread_id, "done")
    await checkpointer.claim_run(thread_id, "open")
    await checkpointer.save_pending_request(thread_id, REQUEST, run_id="open")
    await checkpointer.save_hitl_answer(thread_id, "q", "yes")


async def picture(checkpointer: Checkpointer, thread_id: str) -> list[Any]:
    """Return everything that is stored of a thread and its fork, except times."""
    fork = await checkpointer.load(f"{thread_id}-fork")
    return [
        await checkpointer.load(thread_id),
        fork and (fork.messages, fork.extra),
        {(run.run_id, run.completed_at is None) for run in await checkpointer.runs(thread_id)},
        await checkpointer.load_pending(thread_id),
        [await checkpointer.load_hitl_answer(thread_id, question) for question in ("q", "new")],
    ]


async def cancelled(call: Awaitable[object], seconds: float, *, by_timeout: bool) -> bool:
    """Run a call in a task that is cancelled; return True if it was cancelled before its end."""
    if by_timeout:
        cause = None
        try:
            async with asyncio.timeout(seconds):
                await call
        except TimeoutError as error:
            cause = error.__cause__
        assert cause is None or type(cause) is asyncio.CancelledError
        return cause is not None
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        assert task.cancelled()
        return True
    return False


def test_no_method_is_forgotten() -> None:
    """The tests below cover the API."""
    public = {name for name in vars(MessageLog) if not name.startswith("_")}
    assert public - {"is_open", "vocabulary", "batcher"} - OF_CONTROL - OF_ENCRYPTION == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_cancelled_method_is_done_or_not_done(
    database_url: str, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    call = VERBS[verb]
    async with Checkpointer(database_url, max_pool_size=3) as checkpointer:
        await prepare(checkpointer, "t")
        before = await picture(checkpointer, "t")
        await call(checkpointer, "t")
        after = await picture(checkpointer, "t")
        broken: list[object] = []
        for engine in engines_of(checkpointer):
            event.listen(engine, "invalidate", lambda *given: broken.append(given))
        early = 0
        for number in range(TIMES):
            thread_id = f"t{number}"
            await prepare(checkpointer, thread_id)
            seconds = number and dice.random() * 0.01
            early += await cancelled(
                call(checkpointer, thread_id), seconds, by_timeout=number % 2 == 1
            )
            assert await picture(checkpointer, thread_id) in [before, after]
        assert not any(pool.checkedout() for pool in pools_of(checkpointer))
    assert early, "the first is cancelled before it begins"
    assert caplog.records == []
    assert broken == [], "a transaction was broken off, and its connection with it"


@pytest.mark.parametrize("verb", ["append", "save_extra"])
@pytest.mark.parametrize("way", ["url", "engine"])
async def test_a_method_that_is_cancelled_again_and_again_finishes_its_transaction(
    server_url: str, verb: str, way: str
) -> None:
    """The cancel scopes of anyio, and so FastAPI, cancel in each cycle of the event loop."""
    call = VERBS[verb]
    engine, holder = host_engine(server_url), engine_for(server_url)
    opened = Checkpointer(server_url) if way == "url" else Checkpointer(engine=engine)
    async with opened as checkpointer, holder.connect() as connection:
        await prepare(checkpointer, "t")
        before = await picture(checkpointer, "t")
        used = [engine.sync_engine] if way == "engine" else engines_of(checkpointer)
        broken: list[object] = []
        for each in used:
            event.listen(each, "invalidate", lambda *given: broken.append(given))
        lock = "SELECT 1 FROM cubepi_threads WHERE thread_id = 't' FOR UPDATE"
        await connection.execute(text(lock))
        task = asyncio.ensure_future(call(checkpointer, "t"))
        await asyncio.sleep(0.3)  # it waits for the lock
        await keep_cancelling(task)
        assert await picture(checkpointer, "t") == before
        await connection.rollback()

        async def has_ended() -> bool:
            return not any(cast("QueuePool", each.pool).checkedout() for each in used)

        await until(has_ended)
        assert broken == []
        if verb == "save_extra":  # an append that is not inserted yet is left out
            assert await picture(checkpointer, "t") != before
    await engine.dispose()
    await holder.dispose()
