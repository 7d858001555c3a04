"""Graph state: a graph of LangGraph whose every step stores a checkpoint."""

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

_numbers = count()


class State(TypedDict):
    """The state of the graph: a list that grows by a text in each step."""

    said: Annotated[list[str], operator.add]


def graphs(savers: Savers, supersteps: int) -> Sequence[Piece]:
    """Return the work of a graph with each saver, a piece for each database."""
    return [
        Piece(
            f"{name}, {database}",
            "ms",
            [Run(saver, partial(work, opened, supersteps)) for saver, opened in by_name.items()],
        )
        for name, work in ((STEP, _step), (LATEST, _latest))
        for database, by_name in savers.items()
    ]


async def _step(saver: Any, supersteps: int) -> float:
    return await ms_each(_ran(saver, supersteps), supersteps)


async def _latest(saver: Any, supersteps: int) -> float:
    config = await _ran(saver, supersteps)
    times = 10

    async def read() -> None:
        for _ in range(times):
            found = await saver.aget_tuple(config)
            assert len(found.checkpoint["channel_values"]["said"]) == supersteps  # noqa: S101 - a wrong read is no figure

    return await ms_each(read(), times)


async def _ran(saver: Any, supersteps: int) -> RunnableConfig:
    """Run the graph on a new thread, and give the thread's config."""
    builder = StateGraph(State)
    builder.add_node("say", lambda state: {"said": ["x" * 200]})
    builder.add_edge(START, "say")
    builder.add_conditional_edges(
        "say", lambda state: END if len(state["said"]) >= supersteps else "say"
    )
    config: RunnableConfig = {
        "configurable": {"thread_id": f"graph {next(_numbers)}"},
        "recursion_limit": supersteps + 5,
    }
    await builder.compile(checkpointer=saver).ainvoke({"said": []}, config)
    return config
