"""The memory that it takes to stream threads of different lengths."""

import tracemalloc
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.peers.log_tables import LogTables
from benchmarks.piece import Piece, Run


def of_length(length: int) -> str:
    """Return the name of the work of streaming a thread of that length."""
    return f"stream {length:,} messages: peak memory"


def streams(
    databases: Mapping[str, tuple[Any, LogTables]], lengths: Sequence[int]
) -> Sequence[Piece]:
    """Return the work of streaming from each database.

    Args:
        databases: open checkpointers and the tables that they read, by name.
        lengths: the lengths of the threads.
    """
    return [
        Piece(
            of_length(length),
            "MB",
            [Run(name, partial(_peak_mb, *ours, length)) for name, ours in databases.items()],
        )
        for length in lengths
    ]


async def _peak_mb(checkpointer: Any, tables: LogTables, length: int) -> float:
    """Return the peak of Python's memory while it streams a thread, in MB."""
    thread_id = await tables.ensure(f"{length} to stream", length)
    tracemalloc.start()
    async for _ in checkpointer.stream(thread_id):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6
