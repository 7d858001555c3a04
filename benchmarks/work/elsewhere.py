"""Appending one message on other databases, and to a server that is not on this machine."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

from benchmarks.conversation import question
from benchmarks.peers.elsewhere import Checkpointers
from benchmarks.piece import Piece, Run
from benchmarks.stopwatch import ms_each

_numbers = count()


def append_on(database: str) -> str:
    """Return the name of the work of appending on a database."""
    return f"append 1 message, one writer, {database}"


def one_writer(checkpointers: Checkpointers, times: int) -> Sequence[Piece]:
    """Return the work of one writer, a piece for each database."""
    return [
        Piece(
            append_on(database),
            "ms",
            [Run(name, partial(_append, opened, times)) for name, opened in by_name.items()],
        )
        for database, by_name in checkpointers.items()
    ]


async def _append(checkpointer: Any, times: int) -> float:
    thread_id, messages = f"elsewhere {next(_numbers)}", [question()]
    await checkpointer.append(thread_id, messages)

    async def write() -> None:
        for _ in range(times):
            await checkpointer.append(thread_id, messages)

    return await ms_each(write(), times)
