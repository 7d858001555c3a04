"""LangGraph's own conformance suite."""

from collections.abc import AsyncIterator
from typing import Any

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from tests.graph.saver.ways import WAYS


async def test_every_base_and_every_extended_capability_passes(way: str, graph_url: str) -> None:

    async def factory() -> AsyncIterator[Any]:
        async with WAYS[way](graph_url) as saver:
            yield saver

    registered = checkpointer_test(name=f"{way} {graph_url.partition(':')[0]}")(factory)
    report = await validate(registered)
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert failures == {}
    assert set(report.results) == {capability.value for capability in Capability}
    assert all(result.passed is True for result in report.results.values())
    print(f"{registered.name}: {sum(r.tests_passed for r in report.results.values())} passed")
