"""The greenlets that operations run in are kept between calls, and nothing else is."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from threading import Thread
from typing import Any

import pytest
from greenlet import getcurrent, greenlet
from sqlalchemy import create_engine
from sqlalchemy.util import await_only

from threadlog.databases.base import PoolSize
from threadlog.runtime import client
from threadlog.runtime.client import ConnectionPool, OperationGreenlet, _Call

NAME: ContextVar[Any] = ContextVar("NAME", default="nobody")


class OperationError(Exception):
    """Raised by an operation."""


class Value:
    """Something that a weak reference can refer to."""


def pool_of(size: int) -> ConnectionPool:
    """Return a pool without a thread; its operations use no connection."""
    runner: Any = None
    return ConnectionPool(create_engine("sqlite://"), PoolSize(1, size), 1, runner, None)


async def run(pool: ConnectionPool, work: Callable[[], Any]) -> Any:
    """Run a function on a slot of a pool."""
    await pool.slots.acquire()
    return await pool.run(lambda _: work())


def after_a_pause(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that awaits before it does its work."""

    def pause() -> Any:
        await_only(asyncio.sleep(0.01))
        return work()

    return pause


async def test_the_next_operation_runs_in_the_same_greenlet() -> None:
    pool = pool_of(2)
    first = await run(pool, after_a_pause(getcurrent))
    assert first is not getcurrent()
    assert await run(pool, after_a_pause(getcurrent)) is first


async def test_operations_at_the_same_time_run_in_greenlets_of_their_own() -> None:
    pool = pool_of(3)
    found = await asyncio.gather(*(run(pool, after_a_pause(getcurrent)) for _ in range(3)))
    assert len(set(map(id, found))) == 3
    again = await asyncio.gather(*(run(pool, after_a_pause(getcurrent)) for _ in range(3)))
    assert set(map(id, again)) == set(map(id, found))


async def test_an_error_is_raised_and_the_greenlet_goes_on() -> None:
    pool, error = pool_of(1), ValueError("of the operation")
    first = await run(pool, getcurrent)

    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="of the operation") as raised:
        await run(pool, after_a_pause(fail))
    assert raised.value is error
    assert await run(pool, after_a_pause(getcurrent)) is first


async def test_nothing_of_an_operation_is_kept() -> None:
    pool = pool_of(1)
    left: list[weakref.ref[Any]] = []

    def known(value: Any) -> Any:
        left.append(weakref.ref(value))
        return value

    def succeed(argument: Value) -> tuple[Value, Value]:
        return argument, known(Value())

    def fail() -> None:
        raise known(OperationError())

    async def call() -> None:
        NAME.set(known(Value()))
        await run(pool, after_a_pause(partial(succeed, known(Value()))))
        with pytest.raises(OperationError):
            await run(pool, after_a_pause(fail))

    await asyncio.create_task(call())
    await asyncio.sleep(0)  # the loop itself forgets the task with its next step
    gc.collect()
    assert [reference() for reference in left] == [None] * 4


async def test_an_operation_has_the_context_of_its_caller() -> None:
    pool = pool_of(1)

    async def call(name: str) -> Any:
        NAME.set(name)
        return await run(pool, after_a_pause(NAME.get))

    assert await asyncio.create_task(call("Ada")) == "Ada"
    assert await asyncio.create_task(call("Grace")) == "Grace"
    assert await run(pool, after_a_pause(NAME.get)) == "nobody"


async def test_a_cancelled_operation_can_clean_up() -> None:
    pool, cleaned = pool_of(1), asyncio.Event()

    def work() -> None:
        try:
            await_only(asyncio.sleep(60))
        finally:
            await_only(asyncio.sleep(0.01))
            cleaned.set()

    first = await run(pool, getcurrent)
    task = asyncio.create_task(run(pool, work))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
    assert await run(pool, after_a_pause(getcurrent)) is first


def test_a_greenlet_is_used_only_where_it_was_made() -> None:
    with asyncio.Runner() as runner:
        pool = pool_of(1)
        here = runner.run(run(pool, after_a_pause(getcurrent)))
        elsewhere = greenlet(lambda: runner.run(run(pool, after_a_pause(getcurrent)))).switch()
        assert elsewhere is not here
        assert runner.run(run(pool, after_a_pause(getcurrent))) is here


@pytest.mark.filterwarnings("ignore:.*ignored GeneratorExit")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_greenlet_that_was_left_in_the_middle_is_not_used_again() -> None:
    pool = pool_of(1)
    first = await run(pool, getcurrent)

    def refuse_to_end() -> None:
        while True:
            with suppress(GeneratorExit):
                await_only(asyncio.sleep(60))

    await pool.slots.acquire()
    call = pool.run(lambda _: refuse_to_end())
    call.send(None)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        call.close()
    assert await run(pool, after_a_pause(getcurrent)) is not first


async def test_an_interrupt_after_an_operation_leaves_no_error_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python raises KeyboardInterrupt between any two instructions of the main thread."""

    class InterruptedCall(_Call):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "error" and value is None:
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    def fail() -> None:
        raise OperationError

    pool = pool_of(1)
    with monkeypatch.context() as patched:
        patched.setattr(client, "_Call", InterruptedCall)
        with pytest.raises(KeyboardInterrupt):
            await run(pool, fail)
    assert await run(pool, lambda: "done") == "done"


async def test_a_greenlet_ends_with_its_pool() -> None:
    pool = pool_of(1)
    left = weakref.ref(await run(pool, after_a_pause(getcurrent)))
    assert left() is not None
    await pool.dispose()
    assert left() is None


def test_a_greenlet_that_is_left_in_another_thread_ends_silently() -> None:
    """As where the garbage collector finds a client that was never closed."""
    left: list[OperationGreenlet] = []

    async def work() -> None:
        left.append(OperationGreenlet())
        await left[0].run(after_a_pause(lambda: None))

    asyncio.run(work())
    ended = weakref.ref(left[0])
    thread = Thread(target=left.clear)
    thread.start()
    thread.join()
    getcurrent()  # ends greenlets of this thread that others have left
    gc.collect()  # pytest would report what an object cannot raise
    assert ended() is None
