"""Questions to a person, answered in a process of its own."""

import pytest

from tests.graph.graphs.graphs import asking, nested
from tests.graph.graphs.histories import comparable, config_of
from tests.graph.graphs.processes import run_worker
from tests.graph.ways import WAYS, reference


@pytest.mark.processes
async def test_a_question_is_answered_in_another_process(way_name: str, graph_url: str) -> None:
    async with WAYS[way_name](graph_url) as way:
        graph = way.compile(asking())
        waiting = await graph.run({"said": ["hello"]}, config_of())
        assert [found.value for found in waiting["__interrupt__"]] == ["Refund?"]
        like = reference(way).compile(asking())
        await like.run({"said": ["hello"]}, config_of())
        state = comparable(await graph.state(config_of()))
        assert state == comparable(await like.state(config_of()))
    asked, said = run_worker("answer", graph_url, way_name, "yes")
    assert asked == [["Refund?"], ["ask"]]
    assert said == ["hello", "before", "Refund? yes", "beside", "after"]


@pytest.mark.processes
async def test_a_question_of_a_subgraph_is_answered_in_another_process(
    own_way_name: str, graph_url: str
) -> None:
    """The subgraph goes on where it asked, without saying anything twice."""
    async with WAYS[own_way_name](graph_url) as way:
        await way.compile(nested(question=True)).run({"said": ["hello"]}, config_of())
    asked, said = run_worker("answer_inside", graph_url, own_way_name, "yes")
    assert asked == [["Really?"], ["child"]]
    assert said[-5:] == ["outer 1", "inner 1", "Really? yes", "inner 2", "outer 2"]
    assert [said.count(line) for line in ("inner 1", "inner 2", "outer 2")] == [1, 1, 1]
