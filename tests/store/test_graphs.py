"""Graphs whose nodes read and write a store."""

from typing import Any

import pytest
from langgraph.constants import END, START
from langgraph.graph.state import StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Send
from typing_extensions import TypedDict

from tests.store.ways import Way
from tests.support.ways import open_engine
from threadlog.langgraph import Saver, Store
from threadlog.models import STORE


class State(TypedDict, total=False):
    """A message, and what is known of its user."""

    user: str
    said: str
    known: list[str]


async def recall(state: State, *, store: BaseStore) -> State:
    """Read what is known of the user."""
    found = await store.asearch((state["user"], "memories"), limit=100)
    return {"known": sorted(item.value["text"] for item in found)}


async def remember(state: State, *, store: BaseStore) -> None:
    """Store what the user said."""
    await store.aput((state["user"], "memories"), state["said"], {"text": state["said"]})


def recall_sync(state: State, *, store: BaseStore) -> State:
    """Read what is known of the user."""
    found = store.search((state["user"], "memories"), limit=100)
    return {"known": sorted(item.value["text"] for item in found)}


def remember_sync(state: State, *, store: BaseStore) -> None:
    """Store what the user said."""
    store.put((state["user"], "memories"), state["said"], {"text": state["said"]})


def graph_of(way: Way) -> Any:
    """Create a graph that recalls, then remembers."""
    builder = StateGraph(State)
    nodes: tuple[Any, Any] = (recall, remember)
    if way.synchronous:
        nodes = (recall_sync, remember_sync)
    builder.add_sequence([("recall", nodes[0]), ("remember", nodes[1])])
    builder.add_edge(START, "recall")
    return builder.compile(store=way.store)


async def test_a_graph_remembers_over_threads_and_forgets_no_user(way: Way) -> None:
    graph = graph_of(way)

    async def run(user: str, said: str) -> list[str]:
        name = "invoke" if way.synchronous else "ainvoke"
        done = getattr(graph, name)({"user": user, "said": said})
        found: list[str] = (done if way.synchronous else await done)["known"]
        return found

    assert await run("ann", "likes tea") == []
    assert await run("ann-marie", "likes coffee") == []
    assert await run("ann", "has a dog") == ["likes tea"]
    assert await run("ann-marie", "moved") == ["likes coffee"]
    assert await run("ann", "…") == ["has a dog", "likes tea"]


@pytest.mark.one_database
async def test_parallel_nodes_write_beside_checkpoints(empty_url: str) -> None:
    builder = StateGraph(State)
    builder.add_node("start", lambda state: None)
    builder.add_node("remember", remember)
    builder.add_node("recall", recall)
    builder.add_edge(START, "start")
    builder.add_conditional_edges(
        "start",
        lambda state: [
            Send("remember", {"user": state["user"], "said": f"fact {number:02}"})
            for number in range(20)
        ],
        ["remember"],
    )
    builder.add_edge("remember", "recall")
    builder.add_edge("recall", END)
    async with (
        open_engine(empty_url, STORE) as engine,
        Saver(engine=engine) as saver,
        Store(engine=engine) as store,
    ):
        await saver.setup()
        await store.setup()
        graph = builder.compile(checkpointer=saver, store=store)
        done = await graph.ainvoke({"user": "ann"}, {"configurable": {"thread_id": "t"}})
    assert done["known"] == [f"fact {number:02}" for number in range(20)]
