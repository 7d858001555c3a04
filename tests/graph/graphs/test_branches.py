"""Branches that run at once and write to one channel."""

import pytest

from tests.graph.graphs.graphs import BRANCHES, Said, branches, sends
from tests.graph.graphs.histories import comparables, config_of, writes_of
from tests.graph.ways import Builder, Way, reference


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        (branches(), ["fork", *sorted(BRANCHES), "join"]),
        (sends(12), ["divide", *(f"piece {number}" for number in range(12)), "join"]),
    ],
    ids=["branches", "sends"],
)
async def test_what_runs_at_once_is_stored_in_its_order(
    way: Way, builder: Builder, expected: list[str]
) -> None:
    ours, theirs = way.compile(builder), reference(way).compile(builder)
    given: Said = {"said": ["hello"]}
    for _ in range(2):
        result = await ours.run(given, config_of())
        assert result == await theirs.run(given, config_of())
    assert result["said"] == ["hello", *expected] * 2
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
    stored = writes_of(await way.tuples(config_of()))
    memory = Way(theirs.graph.checkpointer)
    assert stored == writes_of(await memory.tuples(config_of()))


async def test_a_stream_is_the_same(own_way: Way) -> None:
    ours, theirs = own_way.compile(branches()), reference(own_way).compile(branches())
    for mode in ("values", "debug"):
        found = await ours.stream({"said": ["hello"]}, config_of(mode), stream_mode=mode)
        like = await theirs.stream({"said": ["hello"]}, config_of(mode), stream_mode=mode)
        assert len(found) == len(like) > 3
        if mode == "values":
            assert found == like
