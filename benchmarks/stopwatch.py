"""Time that a piece of work takes."""

import time
from collections.abc import Awaitable


async def seconds(work: Awaitable[object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def ms_each(work: Awaitable[object], times: int) -> float:
    """Return the milliseconds of each of several repetitions in one awaitable."""
    return await seconds(work) / times * 1000
