"""Fixtures of the tests of the memory store."""

from collections.abc import AsyncIterator

import pytest

from tests.store.ways import WAYS, Way
from tests.support.matrix import ways


@pytest.fixture(params=ways(WAYS))
def way_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each way to have a store."""
    return str(request.param)


@pytest.fixture
async def way(way_name: str, store_url: str) -> AsyncIterator[Way]:
    """Open a store of each way, on each database."""
    async with WAYS[way_name](store_url) as opened:
        yield opened
