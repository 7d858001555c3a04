"""The graphs of these tests: no model, nodes that say their names."""

import operator
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.constants import END, START
from langgraph.graph.state import StateGraph
from langgraph.types import Send, interrupt

from tests.graph.ways import Builder

BRANCHES: Final = tuple(f"branch {number}" for number in range(12))
KILLABLE: Final = ("first", "left", "right", "third", "last")


Node: TypeAlias = Any  # a function; LangGraph keeps its own protocol of it to itself


class Said(TypedDict, total=False):
    """The texts said, in order, and a value that is replaced."""

    said: Annotated[list[str], operator.add]
    last: str


def says(name: str, *, seconds: float = 0) -> Node:
    """Create a node that says its name after sleeping up to so long."""

    def node(state: Any) -> dict[str, list[str]]:
        if seconds:
            time.sleep(random.random() * seconds)  # parallel nodes finish in any order
        return {"said": [name]}

    return node


def chain(*names: str, state: type[Any] = Said, question: str | None = None) -> Builder:
    """Create a graph of consecutive nodes, of which those named ``ask`` interrupt."""
    builder: Builder = StateGraph(state)
    for before, name in zip((START, *names), names, strict=False):
        builder.add_node(name, asks(question) if question and name == "ask" else says(name))
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    return builder


def branches(state: type[Any] = Said) -> Builder:
    """Create a graph whose branches write to one channel at once, and meet in a join."""
    builder: Builder = StateGraph(state)
    builder.add_node("fork", says("fork"))
    builder.add_node("join", says("join"))
    builder.add_edge(START, "fork")
    for name in BRANCHES:
        builder.add_node(name, says(name, seconds=0.02))
        builder.add_edge("fork", name)
    builder.add_edge([*BRANCHES], "join")
    builder.add_edge("join", END)
    return builder


def sends(count: int) -> Builder:
    """Create a graph that sends so many pieces of work to one node."""

    def work(state: Any) -> dict[str, list[str]]:
        time.sleep(random.random() * 0.02)
        return {"said": [f"piece {state['number']}"]}

    def divide(state: Said) -> list[Send]:
        return [Send("work", {"number": number}) for number in range(count)]

    builder: Builder = StateGraph(Said)
    builder.add_node("divide", says("divide"))
    builder.add_node("work", work)
    builder.add_node("join", says("join"))
    builder.add_edge(START, "divide")
    builder.add_conditional_edges("divide", divide, ["work"])
    builder.add_edge("work", "join")
    builder.add_edge("join", END)
    return builder


def asks(question: str) -> Node:
    """Create a node that asks a person, and says the answer."""

    def node(state: Any) -> dict[str, list[str]]:
        return {"said": [f"{question} {interrupt(question)}"]}

    return node


def asking() -> Builder:
    """Create a graph with a branch that asks and one that says something, joined afterwards."""
    builder: Builder = StateGraph(Said)
    for name in ("before", "beside", "after"):
        builder.add_node(name, says(name))
    builder.add_node("ask", asks("Refund?"))
    builder.add_edge(START, "before")
    builder.add_edge("before", "ask")
    builder.add_edge("before", "beside")
    builder.add_edge(["ask", "beside"], "after")
    builder.add_edge("after", END)
    return builder


def nested(*, checkpointer: bool | None = None, question: bool = False) -> Builder:
    """Create a graph with a subgraph that may ask, and may have its own checkpoints."""
    middle = ["ask"] if question else []
    inner = chain("inner 1", *middle, "inner 2", question="Really?")
    builder: Builder = StateGraph(Said)
    builder.add_node("outer 1", says("outer 1"))
    builder.add_node("child", inner.compile(checkpointer=checkpointer))
    builder.add_node("outer 2", says("outer 2"))
    builder.add_edge(START, "outer 1")
    builder.add_edge("outer 1", "child")
    builder.add_edge("child", "outer 2")
    builder.add_edge("outer 2", END)
    return builder


def failing(ledger: Path) -> Builder:
    """Create branches of which one fails on its first run; note each run in a file."""

    def noting(name: str) -> Node:
        def node(state: Any) -> dict[str, list[str]]:
            with ledger.open("a") as file:
                file.write(f"{name}\n")
            if name == "bad" and ledger.read_text().count("bad") == 1:
                time.sleep(0.3)  # until its siblings are done
                raise OSError("no network")
            return {"said": [name]}

        return node

    builder: Builder = StateGraph(Said)
    for name in ("good 1", "bad", "good 2"):
        builder.add_node(name, noting(name))
        builder.add_edge(START, name)
    builder.add_node("join", noting("join"))
    builder.add_edge(["good 1", "bad", "good 2"], "join")
    builder.add_edge("join", END)
    return builder


def appended(state: list[str] | None, writes: Sequence[list[str]]) -> list[str]:
    """Append in order: which order, the value shows."""
    return [*(state or []), *(said for write in writes for said in write)]


def delta_state(every: int) -> type[Any]:
    """Return a state whose channel ``said`` accumulates writes, with a snapshot every few steps."""

    class Delta(TypedDict, total=False):
        said: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=every)]
        silent: Annotated[list[str], DeltaChannel(appended, snapshot_frequency=every)]
        last: str

    return Delta


def delta_branches(every: int) -> Builder:
    """Create `branches` on a delta channel, and a second channel that is never written."""
    return branches(delta_state(every))


def killable(ledger: Path, kill: str, report: Callable[[], object]) -> Builder:
    """Create steps, some in branches, that note their runs in a file; one of them hangs."""

    def noting(name: str) -> Node:
        def node(state: Any) -> dict[str, list[str]]:
            if name == kill:
                time.sleep(0.3)  # until what its siblings wrote is stored
                report()
                time.sleep(60)
            with ledger.open("a") as file:
                file.write(f"{name}\n")
            return {"said": [name]}

        return node

    builder: Builder = StateGraph(Said)
    for name in KILLABLE:
        builder.add_node(name, noting(name))
    builder.add_edge(START, "first")
    builder.add_edge("first", "left")
    builder.add_edge("first", "right")
    builder.add_edge(["left", "right"], "third")
    builder.add_edge("third", "last")
    builder.add_edge("last", END)
    return builder
