"""Which run made a checkpoint: told by its metadata, on every database."""

from uuid import uuid4

import pytest

from tests.graph.graphs.graphs import branches, nested
from tests.graph.graphs.histories import comparables, config_of
from tests.graph.ways import Way, reference
from threadlog.errors import InvalidIdError


async def test_every_checkpoint_says_which_run_made_it(way: Way) -> None:
    graph = way.compile(branches())
    runs = [str(uuid4()) for _ in range(3)]
    for run_id in runs:
        await graph.run({"said": ["hello"]}, config_of(metadata={"run_id": run_id}))
    history = await graph.history(config_of())
    assert {(state.metadata or {}).get("run_id") for state in history} == {*runs}
    for run_id in runs:
        found = await graph.history(config_of(), filter={"run_id": run_id})
        assert [(state.metadata or {}).get("run_id") for state in found] == [run_id] * 5
        assert comparables(found) == comparables(
            [state for state in history if (state.metadata or {})["run_id"] == run_id]
        )
    assert await graph.history(config_of(), filter={"run_id": "another"}) == []
    newest = await graph.history(config_of(), limit=2)
    assert [(state.metadata or {})["step"] for state in newest] == [13, 12]


async def test_subgraphs_say_it_too(own_way: Way) -> None:
    memory = reference(own_way)
    config = config_of(metadata={"run_id": "r1", "tenant": "acme"})
    for place in (own_way, memory):
        await place.compile(nested()).run({"said": ["hello"]}, config)
    ours, theirs = [await place.tuples(config_of()) for place in (own_way, memory)]
    assert len(ours) == len(theirs)
    for stored in ours:
        assert stored.metadata["run_id"] == "r1"
        assert dict(stored.metadata)["tenant"] == "acme"
    assert sorted(map(sorted, (found.metadata for found in ours))) == sorted(
        map(sorted, (found.metadata for found in theirs))
    )
    for space in {found.config["configurable"]["checkpoint_ns"] for found in ours}:
        config = config_of()
        config["configurable"]["checkpoint_ns"] = space
        assert len(await own_way.tuples(config, filter={"run_id": "r1"})) == len(
            await own_way.tuples(config)
        )


async def test_an_empty_run_id_is_no_run(own_way: Way) -> None:
    config = config_of(metadata={"run_id": ""})
    for place in (own_way, reference(own_way)):
        await place.compile(branches()).run({"said": ["hello"]}, config)
        assert {found.metadata["run_id"] for found in await place.tuples(config_of())} == {""}


@pytest.mark.parametrize("run_id", [0, False])
async def test_run_id_that_is_no_text_is_refused(own_way: Way, run_id: object) -> None:
    with pytest.raises(InvalidIdError, match="run_id"):
        await own_way.compile(branches()).run(
            {"said": ["hello"]}, config_of(metadata={"run_id": run_id})
        )
    assert await own_way.tuples(config_of()) == []


async def test_deleting_a_run_leaves_the_others(own_way: Way) -> None:
    """A thread goes on from the run before the one that was deleted."""
    graph = own_way.compile(branches())
    for run_id in ("r1", "r2"):
        await graph.run({"said": [run_id]}, config_of(metadata={"run_id": run_id}))
    await own_way.call("delete_for_runs", ["r2"])
    history = await graph.history(config_of())
    assert {(state.metadata or {}).get("run_id") for state in history} == {"r1"}
    result = await graph.run({"said": ["r3"]}, config_of(metadata={"run_id": "r3"}))
    assert [line for line in result["said"] if line.startswith("r")] == ["r1", "r3"]
