"""A skeino application with a small graph, for uvicorn: ``tests.persistence.skeino.served:app``.

SERVED_SCHEME and SERVED_URL say where it keeps its data.
"""

import asyncio
import operator
import os
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph
from skeino import SkeinoSettings, create_app

from tests.persistence.skeino.servers import BEAT_SECONDS, STALE_SECONDS
from threadlog import skeino


class Work(TypedDict):
    """The graph's state: its input, and the steps that it has done."""

    steps: int
    seconds: float
    done: Annotated[list[str], operator.add]


async def step(state: Work) -> dict[str, Any]:
    """Run one step, which takes the requested time."""
    await asyncio.sleep(state["seconds"])
    return {"done": [f"step {len(state['done']) + 1}"]}


def onward(state: Work) -> str:
    """Continue until the requested number of steps is done."""
    return "step" if len(state["done"]) < state["steps"] else "__end__"


def build(checkpointer: Any) -> Any:
    """Compile the graph."""
    graph = StateGraph(Work)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", onward)
    return graph.compile(checkpointer=checkpointer)


skeino.register(ttl_sweep_seconds=BEAT_SECONDS)
app = create_app(
    graphs={"work": build},
    settings=SkeinoSettings(
        checkpointer_scheme=os.environ["SERVED_SCHEME"],
        checkpointer_uri=os.environ["SERVED_URL"],
        run_heartbeat_seconds=BEAT_SECONDS,
        orphaned_run_timeout_seconds=STALE_SECONDS,
    ),
)
