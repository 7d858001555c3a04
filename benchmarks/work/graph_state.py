"""Graph state: a graph of LangGraph whose every step stores a checkpoint."""

import asyncio
import operator
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Annotated, Any, Final, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from benchmarks.peers.graph_savers import Savers
from benchmarks.piece import Piece, Run
from benchmarks.stopwatch import ms_each

STEP: Final = "a step of a graph, stored"
LATEST: Final = "the latest checkpoint of that graph"

CHANNELS: Final = (1, 2, 10)

_TYPED_DICT: Final[Any] = TypedDict  # type checkers expect its keys to be literals
_GROWING: Final = Annotated[list[str], operator.add]

_numbers = count()


def step_of(database: str, channels: int = 1) -> str:
    """Return the name of the work of a graph with so many channels."""
    return f"{STEP}, {database}" if channels == 1 else f"{STEP}, {channels} channels, {database}"


def latest_of(database: str) -> str:
    """Return the name of the work of reading the latest checkpoint."""
    return f"{LATEST}, {database}"


def crowd_of(database: str, graphs: int) -> str:
    """Return the name of the work of graphs that run at once."""
    return f"a step of each of {graphs} graphs at once, {database}"


def graphs(savers: Savers, supersteps: int, at_once: int) -> Sequence[Piece]:
    """Return the work of graphs with each saver, a piece for each database."""
    pieces = []
    for database, by_name in savers.items():
        works = {
            **{
                step_of(database, channels): partial(
                    _step, supersteps=supersteps, channels=channels
                )
                for channels in CHANNELS
            },
            latest_of(database): partial(_latest, supersteps=supersteps),
            crowd_of(database, at_once): partial(_crowd, graphs=at_once),
        }
        for name, work in works.items():
            runs = [Run(saver, partial(work, opened)) for saver, opened in by_name.items()]
            pieces.append(Piece(name, "ms", runs))
    return pieces


async def _step(saver: Any, *, supersteps: int, channels: int) -> float:
    return await ms_each(_ran(saver, supersteps, channels), supersteps)


async def _crowd(saver: Any, *, graphs: int) -> float:
    async def run() -> None:
        await asyncio.gather(*(_ran(saver, 2) for _ in range(graphs)))

    return await ms_each(run(), 2 * graphs)


async def _latest(saver: Any, *, supersteps: int) -> float:
    config = await _ran(saver, supersteps)
    times = 10

    async def read() -> None:
        for _ in range(times):
            found = await saver.aget_tuple(config)
            assert len(found.checkpoint["channel_values"]["said0"]) == supersteps  # noqa: S101 - a wrong read is no figure

    return await ms_each(read(), times)


async def _ran(saver: Any, supersteps: int, channels: int = 1) -> RunnableConfig:
    """Run a graph on a new thread, and return the thread's config.

    Each of its channels is a list that grows by a text in each step.
    """
    names = [f"said{number}" for number in range(channels)]
    builder = StateGraph(_TYPED_DICT("State", dict.fromkeys(names, _GROWING)))
    builder.add_node("say", lambda state: {name: ["x" * 200] for name in names})
    builder.add_edge(START, "say")
    builder.add_conditional_edges(
        "say", lambda state: END if len(state["said0"]) >= supersteps else "say"
    )
    config: RunnableConfig = {
        "configurable": {"thread_id": f"graph {next(_numbers)}"},
        "recursion_limit": supersteps + 5,
    }
    await builder.compile(checkpointer=saver).ainvoke({name: [] for name in names}, config)
    return config
