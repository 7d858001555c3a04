"""Appending one message: by one writer, and to threads of any length."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Final

from benchmarks.peers.contender import Contender
from benchmarks.piece import Piece, Point, Run
from benchmarks.setting import Setting
from benchmarks.stopwatch import Stopwatch, ms_each, processor_ms_each

ONE_WRITER: Final = "append 1 message, one writer"
PROCESSOR: Final = "append 1 message, one writer, processor time"
PANEL: Final = "Append 1 message to a thread of so many"

# Threads up to this length are made anew for each turn, since appends make them longer.
_SHORT: Final = 1_000

_numbers = count()


def to_length(length: int) -> str:
    """Return the name of the work of appending to a thread of that length."""
    return f"append to a thread of {length:,}"


def long_thread(length: int) -> str:
    """Return the id of the thread that is created once; appends to it do not matter."""
    return f"{length} messages"


def one_writer(setting: Setting) -> Sequence[Piece]:
    """Return the work of one writer."""
    times = setting.scale.appends
    return [
        Piece(
            name,
            "ms",
            [Run(c.name, partial(_append, c, times, 4, each)) for c in setting.contenders],
        )
        for name, each in ((ONE_WRITER, ms_each), (PROCESSOR, processor_ms_each))
    ]


def to_lengths(setting: Setting) -> Sequence[Piece]:
    """Return the work of one writer on threads of different lengths."""
    times = max(setting.scale.appends // 2, 1)
    return [
        Piece(
            to_length(length),
            "ms",
            [Run(c.name, partial(_append, c, times, length)) for c in setting.contenders],
            Point(PANEL, length),
        )
        for length in setting.scale.lengths
    ]


async def _append(
    contender: Contender, times: int, length: int, each: Stopwatch = ms_each
) -> float:
    name = f"{length} messages, {next(_numbers)}" if length <= _SHORT else long_thread(length)
    thread_id = await contender.tables.ensure(name, length)
    return await each(contender.write([thread_id], times), times)
