"""Time that a piece of work takes."""

import time
from collections.abc import Awaitable


async def seconds(work: Awaitable[object]) -> float:
    """Give the seconds that something takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def ms_each(work: Awaitable[object], times: int) -> float:
    """Give the milliseconds that each of so many repetitions in one awaitable takes."""
    return await seconds(work) / times * 1000
