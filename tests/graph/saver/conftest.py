"""Fixtures of the saver's tests."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.graph.ways import WAYS, Way
from threadlog.langgraph import Saver


@pytest.fixture
def any_saver(way: Way) -> Any:
    """Return an open saver of each way, under asynchronous names, on each database."""
    return way.asynchronous_saver


@pytest.fixture
async def saver(graph_url: str) -> AsyncIterator[Saver]:
    """Open a saver of a URL, on each database."""
    async with WAYS["own"](graph_url) as opened:
        assert isinstance(opened.saver, Saver)
        yield opened.saver
