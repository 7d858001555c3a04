"""Alternating rounds: A B C A B C, so that what slows the machine down meets all alike."""

import gc
from collections.abc import Callable, Sequence

from benchmarks.figure import Figure
from benchmarks.piece import Piece, Run


async def measure(group: Sequence[Piece], rounds: int, tick: Callable[[str], None]) -> list[Figure]:
    """Run all pieces of work of a group with all contenders, in turn.

    Before the first round each has a turn that does not count, which opens connections and
    fills caches.

    Args:
        group: pieces of work whose figures are to be compared with each other.
        rounds: how often each contender does each.
        tick: is called with the name of the work after each turn, `turns` times in all.
    """
    found: dict[int, list[float]] = {}
    for counts in (False, *[True] * rounds):
        for piece in group:
            for run in piece.runs:
                value = await _turn(run)
                if counts:
                    found.setdefault(id(run), []).append(value)
                tick(piece.name)
    return [
        Figure(piece.name, run.contender, piece.unit, tuple(found[id(run)]), piece.point)
        for piece in group
        for run in piece.runs
    ]


def turns(group: Sequence[Piece], rounds: int) -> int:
    """Count the turns of all contenders, those that do not count included."""
    return sum(len(piece.runs) for piece in group) * (1 + rounds)


async def _turn(run: Run) -> float:
    gc.collect()  # nobody pays for what another left behind
    return await run.measure()
