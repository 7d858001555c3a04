"""Waiting in tests: for a condition, with a limit that no busy machine reaches."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

PATIENCE_SECONDS: Final = 180
"""After this a test has hung. Nothing that works takes a tenth of it, even on a busy machine."""


def patience() -> asyncio.Timeout:
    """Return a limit for what must not wait for ever."""
    return asyncio.timeout(PATIENCE_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it did not within `PATIENCE_SECONDS`.
    """
    async with patience():
        while not await condition():  # noqa: ASYNC110 - databases and servers send no events
            await asyncio.sleep(0.02)


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds, or `PATIENCE_SECONDS` have passed; return whether it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


async def keep_cancelling(task: asyncio.Future[Any]) -> None:
    """Cancel a task in each cycle of the event loop, as the cancel scopes of anyio do."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
