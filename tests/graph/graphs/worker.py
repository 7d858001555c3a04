"""A process that runs a graph: ``python -m tests.graph.graphs.worker ROLE URL WAY [ARGUMENT ...]``.

It prints JSON lines.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langgraph.types import Command

from tests.graph.graphs.graphs import asking, delta_branches, killable, nested
from tests.graph.graphs.histories import config_of
from tests.graph.ways import WAYS, Runner, Way


def report(what: object) -> None:
    """Print a line for the test that reads it."""
    print(json.dumps(what), flush=True)


async def answer(way: Way, *answers: str) -> None:
    """Answer the questions of a graph that waits, one run for each."""
    await _answer(way.compile(asking()), *answers)


async def answer_inside(way: Way, *answers: str) -> None:
    """Answer the questions of a subgraph that waits."""
    await _answer(way.compile(nested(question=True)), *answers)


async def _answer(graph: Runner, *answers: str) -> None:
    for given in answers:
        state = await graph.state(config_of())
        report([[found.value for found in state.interrupts], [*state.next]])
        report((await graph.run(Command(resume=given), config_of()))["said"])


async def read_delta(way: Way, every: str) -> None:
    """Report a delta channel's value as of each checkpoint, newest first."""
    graph = way.compile(delta_branches(int(every)))
    report([state.values["said"] for state in await graph.history(config_of())])


async def run_killable(way: Way, ledger: str, kill: str) -> None:
    """Run a graph of which each node notes that it ran; one asks to be killed in its midst."""
    graph = way.compile(killable(Path(ledger), kill, lambda: report("kill me")))
    state = await graph.state(config_of())
    given: Any = {"said": ["hello"]} if not state.values else None
    report([*state.values.get("said", [])])
    report((await graph.run(given, config_of(), durability="sync"))["said"])


ROLES = {role.__name__: role for role in (answer, answer_inside, read_delta, run_killable)}


async def main(role: str, url: str, way: str, *arguments: str) -> None:
    """Run a role on the database."""
    async with WAYS[way](url) as opened:
        await ROLES[role](opened, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
