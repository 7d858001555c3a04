"""LangGraph's own conformance suite."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from tests.graph.ways import WAYS


@pytest.mark.whole_matrix
async def test_every_base_and_every_extended_capability_passes(
    way_name: str, graph_url: str
) -> None:

    async def factory() -> AsyncIterator[Any]:
        async with WAYS[way_name](graph_url) as opened:
            yield opened.asynchronous_saver

    registered = checkpointer_test(name=f"{way_name} {graph_url.partition(':')[0]}")(factory)
    report = await validate(registered)
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert failures == {}
    assert set(report.results) == {capability.value for capability in Capability}
    assert all(result.passed is True for result in report.results.values())
    print(f"{registered.name}: {sum(r.tests_passed for r in report.results.values())} passed")
