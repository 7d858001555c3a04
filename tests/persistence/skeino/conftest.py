"""Fixtures for the tests with skeino."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.persistence.skeino.servers import Server, scheme_of, serving
from tests.support.databases import INNODB
from tests.support.matrix import on_each


@pytest.fixture(params=on_each([*INNODB, "mongodb"]))
def served_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database of each scheme that the plug-in adds."""
    kind = "url" if request.param == "mongodb" else "database"
    return str(request.getfixturevalue(f"{request.param}_{kind}"))


@pytest.fixture
async def server(tmp_path: Path, served_url: str) -> AsyncIterator[Server]:
    """Yield a skeino server with an empty database."""
    async with serving(tmp_path, scheme_of(served_url), served_url) as started:
        yield started
