"""Fixtures of the tests of savers and of graphs on them."""

from collections.abc import AsyncIterator

import pytest

from tests.graph.ways import WAYS, Way
from tests.support.matrix import ways


@pytest.fixture(params=ways(WAYS))
def way_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each way to have a saver."""
    return str(request.param)


@pytest.fixture
async def way(way_name: str, graph_url: str) -> AsyncIterator[Way]:
    """Open a saver of each way, on each database."""
    async with WAYS[way_name](graph_url) as opened:
        yield opened


@pytest.fixture(params=ways(["own", "own_sync"]))
def own_way_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each way to have a saver on a URL."""
    return str(request.param)


@pytest.fixture
async def own_way(own_way_name: str, graph_url: str) -> AsyncIterator[Way]:
    """Open a saver of a URL, asynchronous and synchronous, on each database."""
    async with WAYS[own_way_name](graph_url) as opened:
        yield opened
