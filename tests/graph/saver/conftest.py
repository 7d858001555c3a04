"""Fixtures of the saver's tests."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.graph.saver.ways import WAYS
from threadlog.langgraph import Saver


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    """Return the name of each way to open a saver."""
    return str(request.param)


@pytest.fixture
async def any_saver(way: str, graph_url: str) -> AsyncIterator[Any]:
    """Yield an open saver of each way, on each database."""
    async with WAYS[way](graph_url) as opened:
        yield opened


@pytest.fixture
async def saver(graph_url: str) -> AsyncIterator[Saver]:
    """Yield an open saver of a URL, on each database."""
    async with WAYS["own"](graph_url) as opened:
        yield opened
