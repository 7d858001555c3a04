"""Threads that are pruned or copied, and go on."""

import operator
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.types import Command

from tests.graph.graphs.graphs import (
    asking,
    branches,
    chain,
    delta_branches,
    delta_state,
    nested,
)
from tests.graph.graphs.histories import comparable, comparables, config_of, spaces_of, writes_of
from tests.graph.ways import Builder, Way, reference

BUILDERS = {
    "branches": branches(),
    "nested": nested(),
    "nested that remembers": nested(checkpointer=True),
    "delta 1": delta_branches(1),
    "delta 3": delta_branches(3),
    "delta 1000": delta_branches(1_000),
}


@pytest.fixture(params=list(BUILDERS))
def builder(request: pytest.FixtureRequest) -> Builder:
    """Return each graph in turn."""
    return BUILDERS[request.param]


async def test_a_pruned_thread_goes_on_as_if_it_had_not_been(
    own_way: Way, builder: Builder
) -> None:
    ours, theirs = own_way.compile(builder), reference(own_way).compile(builder)
    for _ in range(3):
        for _ in range(2):
            result = await ours.run({"said": ["hello"]}, config_of())
            assert result == await theirs.run({"said": ["hello"]}, config_of())
        before = len(await own_way.tuples(config_of()))
        await own_way.call("prune", ["t"], strategy="keep_latest")
        assert len(await own_way.tuples(config_of())) <= before
        state = await ours.state(config_of())
        assert state.values == (await theirs.state(config_of())).values
        assert state.next == ()
    if builder not in (BUILDERS["delta 3"], BUILDERS["delta 1000"]):
        assert {len(space) for space in spaces_of(await own_way.tuples(config_of()))} == {1}


async def test_a_question_outlives_pruning(own_way: Way) -> None:
    """A thread which waits still waits, and what is said beside it is kept."""
    for builder, last in ((asking(), "after"), (nested(question=True), "outer 2")):
        thread_id = f"waits before {last}"
        graph = own_way.compile(builder)
        await graph.run({"said": ["hello"]}, config_of(thread_id))
        before = comparable(await graph.state(config_of(thread_id), subgraphs=True))
        await own_way.call("prune", [thread_id])
        after = comparable(await graph.state(config_of(thread_id), subgraphs=True))
        assert _parentless(after) == _parentless(before)
        result = await graph.run(Command(resume="yes"), config_of(thread_id))
        assert result["said"][-1] == last
        assert sum("yes" in line for line in result["said"]) == 1
        assert result["said"].count(last) == 1


def _parentless(found: Any) -> Any:
    """Return a comparable state without its parent, which pruning may delete."""
    if isinstance(found, dict):
        return {key: _parentless(one) for key, one in found.items() if key != "has parent"}
    return [_parentless(one) for one in found] if isinstance(found, list) else found


async def test_pruning_by_age_keeps_what_a_running_thread_needs(own_way: Way) -> None:
    graph = own_way.compile(delta_branches(1_000))
    for number in range(1, 4):
        result = await graph.run({"said": ["hello"]}, config_of())
        assert result["said"].count("hello") == number
        await own_way.call("prune_older_than", timedelta(0))


async def test_a_copy_goes_on_by_itself(own_way: Way, builder: Builder) -> None:
    graph = own_way.compile(builder)
    for _ in range(2):
        await graph.run({"said": ["hello"]}, config_of())
    await own_way.call("copy_thread", "t", "copy")
    history, copied = await graph.history(config_of()), await graph.history(config_of("copy"))
    assert _unthreaded(copied) == _unthreaded(history)
    spaces, like = [spaces_of(await own_way.tuples(config_of(name))) for name in ("copy", "t")]
    assert [writes_of(space) for space in spaces] == [writes_of(space) for space in like]
    one = await graph.run({"said": ["one"]}, config_of())
    two = await graph.run({"said": ["two"]}, config_of("copy"))
    assert [line.replace("two", "one") for line in two["said"]] == one["said"]
    assert "two" not in one["said"]
    old = copied[3].config
    await graph.run(None, old)
    assert (await graph.state(config_of())).values["said"] == one["said"]


def _unthreaded(history: Any) -> Any:
    found = comparables(history)
    return [{**one, "metadata": {**one["metadata"], "thread_id": ""}} for one in found]


async def test_a_question_is_answered_in_a_copy(own_way: Way) -> None:
    """A copy of a thread that waits, waits too, and is answered by itself."""
    graph = own_way.compile(nested(question=True))
    await graph.run({"said": ["hello"]}, config_of())
    await own_way.call("copy_thread", "t", "copy")
    no = await graph.run(Command(resume="no"), config_of("copy"))
    yes = await graph.run(Command(resume="yes"), config_of())
    assert [line for line in no["said"] if "Really" in line] == ["Really? no"]
    assert [line for line in yes["said"] if "Really" in line] == ["Really? yes"]


class Plain(TypedDict, total=False):
    """The state of a graph whose channel is not a delta channel any more."""

    said: Annotated[list[str], operator.add]
    last: str


async def test_a_channel_that_was_a_delta_channel_once_keeps_its_value(own_way: Way) -> None:
    old = own_way.compile(chain("one", "two", state=delta_state(1_000)))
    await old.run({"said": ["hello"]}, config_of())
    new = own_way.compile(chain("one", "two", state=Plain))
    await new.update(config_of(), {"last": "x"}, "two")
    before = await new.state(config_of())
    assert before.values == {"said": ["hello", "one", "two"], "last": "x"}
    for _ in range(2):
        await own_way.call("prune", ["t"])
        assert (await new.state(config_of())).values == before.values
    result = await new.run({"said": ["again"]}, config_of())
    assert result["said"] == ["hello", "one", "two", "again", "one", "two"]
    await own_way.call("prune", ["t"])
    assert len(await own_way.tuples(config_of())) == 1
    assert (await new.state(config_of())).values["said"] == result["said"]
