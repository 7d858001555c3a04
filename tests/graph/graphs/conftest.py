"""Fixtures of the tests with real graphs."""

from collections.abc import AsyncIterator

import pytest

from tests.graph.graphs.ways import WAYS, Way


@pytest.fixture(params=list(WAYS))
async def way(request: pytest.FixtureRequest, graph_url: str) -> AsyncIterator[Way]:
    """Yield an open saver of each way, on each database."""
    async with WAYS[request.param](graph_url) as opened:
        yield opened


@pytest.fixture(params=["own", "own_sync"])
async def own_way(request: pytest.FixtureRequest, graph_url: str) -> AsyncIterator[Way]:
    """Yield an open saver of a URL, asynchronous and synchronous, on each database."""
    async with WAYS[request.param](graph_url) as opened:
        yield opened
