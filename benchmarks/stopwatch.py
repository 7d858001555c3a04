"""Time that a piece of work takes."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Stopwatch: TypeAlias = Callable[[Awaitable[object], int], Awaitable[float]]
"""Measures each of several repetitions in one awaitable."""


async def seconds(work: Awaitable[object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def processor_ms_each(work: Awaitable[object], times: int) -> float:
    """Return the milliseconds of processor time of each of several repetitions.

    That of this process, all of its threads included.
    """
    start = time.process_time()
    await work
    return (time.process_time() - start) / times * 1000


async def ms_each(work: Awaitable[object], times: int) -> float:
    """Return the milliseconds of each of several repetitions in one awaitable."""
    return await seconds(work) / times * 1000
