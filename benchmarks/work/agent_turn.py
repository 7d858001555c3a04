"""A whole turn of an agent of cubeloop, whose model is a script: two tools and an answer."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final

from benchmarks.peers.framework import Framework
from benchmarks.peers.ours import Ours
from benchmarks.piece import Piece, Run
from benchmarks.stopwatch import ms_each
from tests.frameworks.agents import agent, calls, refund_tool, says, track_tool
from tests.frameworks.framework import Framework as AgentFramework
from tests.support.counting import StatementCount

TIME: Final = "an agent's turn with two tools"
STATEMENTS: Final = "statements of that turn"

_CUBELOOP: Final = AgentFramework("cubeloop")
_numbers = count()


class IncompleteTurnError(Exception):
    """An agent's turn left something else in its thread than it should."""


def turns(
    contenders: Sequence[Ours | Framework], counting: StatementCount, times: int
) -> Sequence[Piece]:
    """Return the work of agents with different backends.

    Args:
        contenders: whose checkpointers keep them.
        counting: counts what the server gets.
        times: turns of an agent in a round.
    """
    timed = [Run(c.name, partial(_timed, c.checkpointer, times)) for c in contenders]
    counted = [Run(c.name, partial(counted_turn, c.checkpointer, counting)) for c in contenders]
    return [Piece(TIME, "ms", timed), Piece(STATEMENTS, "statements", counted)]


async def counted_turn(checkpointer: Any, counting: StatementCount) -> float:
    """Count the statements of one turn on a thread that has had another."""
    thread_id = await _thread(checkpointer)
    return await counting.of(lambda: _turn(checkpointer, thread_id))


async def _timed(checkpointer: Any, times: int) -> float:
    thread_id = await _thread(checkpointer)

    async def work() -> None:
        for _ in range(times):
            await _turn(checkpointer, thread_id)

    return await ms_each(work(), times)


async def _thread(checkpointer: Any) -> str:
    """Create a thread with a first turn, and check that all of the turn is stored."""
    thread_id = f"turns {next(_numbers)}"
    await _turn(checkpointer, thread_id)
    roles = [m.role for m in (await checkpointer.load(thread_id)).messages]
    if roles != ["user", "assistant", "tool_result", "tool_result", "assistant"]:
        raise IncompleteTurnError(f"the thread holds {roles}")
    return thread_id


async def _turn(checkpointer: Any, thread_id: str) -> None:
    """Create an agent, as each request to an application does, and run it."""
    turns = [
        calls(_CUBELOOP, track={"order": 17}, refund={"euros": 20}),
        says(_CUBELOOP, "It is in Köln, and your money is on its way."),
    ]
    tools = [track_tool(_CUBELOOP), refund_tool(_CUBELOOP)]
    answering = agent(_CUBELOOP, checkpointer, turns, tools=tools, thread_id=thread_id)
    await answering.prompt("Where is my parcel? I want a refund.")
