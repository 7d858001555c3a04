"""Fixtures for the tests with skeino."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.persistence.skeino.servers import Server, scheme_of, serving


@pytest.fixture
async def server(tmp_path: Path, innodb_database: str) -> AsyncIterator[Server]:
    """Yield a skeino server with an empty database."""
    async with serving(tmp_path, scheme_of(innodb_database), innodb_database) as started:
        yield started
