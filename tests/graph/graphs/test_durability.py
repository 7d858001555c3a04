"""When checkpoints are stored: at the end, in the background, before the next step."""

from typing import Any

import pytest
from langgraph.types import Command

from tests.graph.graphs.graphs import asking, branches, delta_branches, nested
from tests.graph.graphs.histories import comparables, config_of, writes_of
from tests.graph.ways import Builder, Way, reference

DURABILITIES = ("exit", "async", "sync")


@pytest.mark.one_database
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize(
    "builder",
    [branches(), nested(checkpointer=True), delta_branches(3), delta_branches(100)],
    ids=["branches", "nested", "delta 3", "delta 100"],
)
async def test_each_durability_stores_what_the_reference_stores(
    own_way: Way, builder: Builder, durability: Any
) -> None:
    memory = reference(own_way)
    ours, theirs = own_way.compile(builder), memory.compile(builder)
    for number in range(3):
        given = {"said": [f"hello {number}"]}
        result = await ours.run(given, config_of(), durability=durability)
        assert result == await theirs.run(given, config_of(), durability=durability)
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
    root = config_of()
    root["configurable"]["checkpoint_ns"] = ""
    stored, like = [await place.tuples(root) for place in (own_way, memory)]
    assert writes_of(stored) == writes_of(like)
    if durability == "exit":
        assert len(stored) <= 4


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_each_durability_keeps_a_question(own_way: Way, durability: Any) -> None:
    graph = own_way.compile(asking())
    waiting = await graph.run({"said": ["hello"]}, config_of(), durability=durability)
    assert [found.value for found in waiting["__interrupt__"]] == ["Refund?"]
    result = await graph.run(Command(resume="yes"), config_of(), durability=durability)
    assert result["said"] == ["hello", "before", "Refund? yes", "beside", "after"]
