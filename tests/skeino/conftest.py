"""Fixtures for the tests with skeino."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.skeino.servers import Server, serving


@pytest.fixture
async def server(tmp_path: Path, mysql_database: str) -> AsyncIterator[Server]:
    """Give a server whose data is in an empty MySQL database."""
    async with serving(tmp_path, "mysql", mysql_database) as started:
        yield started
