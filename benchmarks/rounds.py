"""Rounds of measurements: of several pieces of work in turn, so that noise meets all of them."""

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

ROUNDS: Final = 7

Work: TypeAlias = Callable[[], Awaitable[object]]


async def medians_ms(works: Mapping[str, Work], times: int) -> dict[str, float]:
    """Return the medians of several pieces of work, which alternate in each round.

    Args:
        works: what to measure, by name; each is called once before the first round.
        times: how often each is called in a round.
    """
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        await work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            for _ in range(times):
                await work()
            rounds[name].append((time.perf_counter() - start) / times * 1000)
    return {name: statistics.median(found) for name, found in rounds.items()}
