"""Loading a thread, whole or only its newest messages."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from benchmarks.peers.contender import Contender
from benchmarks.piece import Piece, Point, Run
from benchmarks.setting import Setting
from benchmarks.stopwatch import ms_each
from benchmarks.work.appending import long_thread

PANEL: Final = "Load a thread of so many messages"
NEWEST: Final = 50
SHORT: Final = f"load a thread of {NEWEST}"


class WrongLoadError(Exception):
    """A contender gave another number of messages than there are."""


def whole_of(length: int) -> str:
    """Return the name of the work of loading all messages of a thread."""
    return f"load {length:,} messages"


def newest_of(length: int) -> str:
    """Return the name of the work of loading only the newest messages of a thread."""
    return f"load the last {NEWEST} of {length:,}"


def whole_threads(setting: Setting) -> Sequence[Piece]:
    """Return the work of loading threads of different lengths."""
    return [
        Piece(
            whole_of(length),
            "ms",
            [Run(c.name, partial(_load, c, times, length)) for c in setting.contenders],
            Point(PANEL, length),
        )
        for length, times in setting.scale.loads.items()
    ]


def newest_messages(setting: Setting) -> Sequence[Piece]:
    """Return the work of loading the newest messages of a long thread, and a thread that short."""
    times = next(iter(setting.scale.loads.values()))
    longest = setting.scale.last_of
    short = [Run(c.name, partial(_load, c, times, NEWEST)) for c in setting.contenders]
    newest = [
        Run(c.name, partial(_load_newest, c, times, longest))
        for c in setting.contenders
        if c.loads_the_newest
    ]
    return [Piece(newest_of(longest), "ms", newest), Piece(SHORT, "ms", short)]


async def _load(contender: Contender, times: int, length: int) -> float:
    thread_id = await contender.tables.ensure(f"{length} to load", length)
    return await _timed(contender, thread_id, times, None, length)


async def _load_newest(contender: Contender, times: int, length: int) -> float:
    thread_id = await contender.tables.ensure(long_thread(length), length)
    return await _timed(contender, thread_id, times, NEWEST, NEWEST)


async def _timed(
    contender: Contender, thread_id: str, times: int, last: int | None, expected: int
) -> float:
    found = 0

    async def load() -> None:
        nonlocal found
        found = await contender.read(thread_id, times, last)

    taken = await ms_each(load(), times)
    if found != expected:
        raise WrongLoadError(f"{contender.name} gave {found} messages of {expected}")
    return taken
