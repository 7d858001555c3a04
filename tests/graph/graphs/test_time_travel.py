"""Going back: reading, running and writing from checkpoints that are not the newest."""

from typing import Any

from langgraph.types import Command

from tests.graph.graphs.graphs import BRANCHES, asking, branches, chain
from tests.graph.graphs.histories import chain_of, comparable, comparables, config_of
from tests.graph.ways import Runner, Way, reference


async def _after(graph: Runner, name: str) -> Any:
    """Return the config of the checkpoint after which a node ran last."""
    history = await graph.history(config_of())
    return next(state.config for state in history if name in state.next)


async def _travels(graph: Runner) -> list[Any]:
    """Run, go back, run from there, write there, and run from what was written."""
    results = [await graph.run({"said": ["hello"], "last": "one"}, config_of())]
    results.append(await graph.run({"said": ["again"]}, config_of()))
    old = await _after(graph, "third")
    results.append(comparable(await graph.state(old)))
    results.append(await graph.run(None, old))
    forked = await graph.update(old, {"said": ["written"], "last": "two"}, as_node="first")
    results.append(comparable(await graph.state(forked)))
    results.append(await graph.run(None, forked))
    copied = await graph.update(await _after(graph, "second"), None, as_node="__copy__")
    results.append(await graph.run(None, copied))
    results.append(comparable(await graph.state(old)))
    results.append(comparable(await graph.state(config_of())))
    return results


async def test_every_way_back_is_the_same(way: Way) -> None:
    memory = reference(way)
    builder = chain("first", "second", "third")
    ours, theirs = way.compile(builder), memory.compile(builder)
    assert await _travels(ours) == await _travels(theirs)
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
    tree, like = [chain_of(await place.tuples(config_of())) for place in (way, memory)]
    assert _shape(tree) == _shape(like)
    assert len(tree) == 18


def _shape(tree: list[tuple[str | None, str]]) -> list[int | None]:
    """Return each checkpoint's parent as its index among all; ids differ from run to run."""
    places = {id_: place for place, (_, id_) in enumerate(tree)}
    return [None if parent is None else places[parent] for parent, _ in tree]


async def test_an_old_checkpoint_reads_as_it_was(own_way: Way) -> None:
    """Later writes on two branches are in no older state."""
    graph = own_way.compile(branches())
    await graph.run({"said": ["hello"]}, config_of())
    before = await graph.history(config_of())
    forked = await graph.update(before[2].config, {"said": ["written"]}, as_node="fork")
    await graph.run(None, forked)
    await graph.run({"said": ["again"]}, config_of())
    for state in before:
        assert comparable(await graph.state(state.config)) == comparable(state)
    newest = (await graph.state(config_of())).values["said"]
    # The fork lies before the branches: what those said in the first run is not in it.
    assert before[2].next == BRANCHES
    assert [newest.count(line) for line in ("written", "again", BRANCHES[0])] == [1, 1, 2]


async def test_an_answered_question_is_asked_again(own_way: Way) -> None:
    """Going back behind a question asks it anew, and keeps both answers apart."""
    memory = reference(own_way)
    found = []
    for place in (own_way, memory):
        graph = place.compile(asking())
        await graph.run({"said": ["hello"]}, config_of())
        first = await graph.run(Command(resume="yes"), config_of())
        old = await _after(graph, "before")
        waiting = await graph.run(None, old)
        assert [one.value for one in waiting["__interrupt__"]] == ["Refund?"]
        second = await graph.run(Command(resume="no"), config_of())
        found.append((first, second, comparables(await graph.history(config_of()))))
        assert [line for line in first["said"] if "Refund" in line] == ["Refund? yes"]
        assert [line for line in second["said"] if "Refund" in line] == ["Refund? no"]
    assert found[0] == found[1]
