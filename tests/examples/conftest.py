"""Fixtures for the tests of the examples."""

from collections.abc import AsyncIterator

import pytest

from tests.examples.helpers import Server, watched
from tests.support.databases import execute


@pytest.fixture
async def shop_url(database_url: str) -> AsyncIterator[str]:
    """Yield the URL of the shop's database; drop its table afterwards."""
    yield database_url
    await execute(database_url, "DROP TABLE IF EXISTS shop_orders")


@pytest.fixture
async def server(shop_url: str) -> AsyncIterator[Server]:
    """Yield a server of the application; check that its connections were returned to the pool."""
    async with watched(shop_url) as started:
        yield started
