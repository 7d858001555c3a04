"""Appending by several writers at once."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from benchmarks.peers.contender import Contender
from benchmarks.piece import Piece, Point, Run
from benchmarks.setting import Setting
from benchmarks.stopwatch import seconds

OWN_THREADS: Final = "Writers, each on a thread of its own"
ONE_THREAD: Final = "Writers, all on one thread"


def on_own_threads(writers: int) -> str:
    """Return the name of the work of writers that do not wait for each other."""
    return f"{_writers(writers)} on {writers} thread{'s' if writers > 1 else ''}"


def on_one_thread(writers: int) -> str:
    """Return the name of the work of writers that wait for each other."""
    return f"{_writers(writers)} on one thread"


def _writers(count: int) -> str:
    return f"{count} writer{'s' if count > 1 else ''}"


def own_threads(setting: Setting) -> Sequence[Piece]:
    """Return the work of more and more writers on as many threads."""
    return [
        Piece(
            on_own_threads(writers),
            "messages/s",
            [
                Run(c.name, partial(_write, c, [f"writer {n}" for n in range(writers)], setting))
                for c in setting.contenders
            ],
            Point(OWN_THREADS, writers),
        )
        for writers in setting.scale.writers
    ]


def one_thread(setting: Setting) -> Sequence[Piece]:
    """Return the work of more and more writers on one thread."""
    return [
        Piece(
            on_one_thread(writers),
            "messages/s",
            [
                Run(c.name, partial(_write, c, ["all"] * writers, setting))
                for c in setting.contenders
            ],
            Point(ONE_THREAD, writers),
        )
        for writers in setting.scale.writers
    ]


async def _write(contender: Contender, thread_ids: Sequence[str], setting: Setting) -> float:
    for thread_id in thread_ids:
        await contender.tables.ensure(thread_id, 4)
    times = max(setting.scale.appends_together // len(thread_ids), 1)
    return times * len(thread_ids) / await seconds(contender.write(thread_ids, times))
