"""Graphs in graphs, each with a namespace of its own."""

from typing import Any

import pytest
from langgraph.types import Command

from tests.graph.graphs.graphs import nested
from tests.graph.graphs.histories import comparables, config_of, spaces_of, writes_of
from tests.graph.ways import Way, reference


@pytest.mark.parametrize("checkpointer", [None, True])
async def test_a_subgraph_has_a_namespace_of_its_own(way: Way, checkpointer: Any) -> None:
    builder = nested(checkpointer=checkpointer)
    memory = reference(way)
    ours, theirs = way.compile(builder), memory.compile(builder)
    for _ in range(3):
        result = await ours.run({"said": ["hello"]}, config_of())
        assert result == await theirs.run({"said": ["hello"]}, config_of())
    stored = await way.tuples(config_of())
    spaces = {found.config["configurable"]["checkpoint_ns"] for found in stored}
    assert len(spaces) == (2 if checkpointer else 4)
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
    found, like = spaces_of(stored), spaces_of(await memory.tuples(config_of()))
    assert [writes_of(space) for space in found] == [writes_of(space) for space in like]


async def test_a_subgraph_that_remembers_can_be_read_by_itself(own_way: Way) -> None:
    builder = nested(checkpointer=True)
    ours, theirs = own_way.compile(builder), reference(own_way).compile(builder)
    inside = config_of()
    inside["configurable"]["checkpoint_ns"] = "child"
    for graph in (ours, theirs):
        for _ in range(2):
            await graph.run({"said": ["hello"]}, config_of())
    state = await ours.state(inside)
    assert state.values == (await theirs.state(inside)).values
    assert state.values["said"].count("inner 2") >= 2
    assert comparables(await ours.history(inside)) == comparables(await theirs.history(inside))
    root = await own_way.tuples(config_of())
    assert {found.config["configurable"]["checkpoint_ns"] for found in root} == {"", "child"}


async def test_a_question_inside_is_seen_from_outside(own_way: Way) -> None:
    builder = nested(question=True)
    ours, theirs = own_way.compile(builder), reference(own_way).compile(builder)
    for graph in (ours, theirs):
        waiting = await graph.run({"said": ["hello"]}, config_of())
        assert [found.value for found in waiting["__interrupt__"]] == ["Really?"]
    found = comparables([await ours.state(config_of(), subgraphs=True)])
    assert found == comparables([await theirs.state(config_of(), subgraphs=True)])
    assert found[0]["tasks"][0]["state"]["next"] == ("ask",)
    for graph in (ours, theirs):
        answered = await graph.run(Command(resume="yes"), config_of())
        assert answered["said"][-4:] == ["inner 1", "Really? yes", "inner 2", "outer 2"]
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
