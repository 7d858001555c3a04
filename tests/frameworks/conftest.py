"""Fixtures of the tests with a framework."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.frameworks.backends import TESTED
from tests.frameworks.framework import Framework, framework_under_test
from tests.support.matrix import on_each


@pytest.fixture(scope="session")
def framework() -> Framework:
    """Return the framework under test, or fail with the command to run if it is missing."""
    return framework_under_test()


@pytest.fixture(scope="session", params=on_each(TESTED))
def backend(request: pytest.FixtureRequest) -> str:
    """Return the database of each of the framework's own backends in turn."""
    return str(request.param)


@pytest.fixture
def backend_url(request: pytest.FixtureRequest, backend: str) -> str:
    """Return the URL of a database with the tables that threadlog creates, all of them empty."""
    return str(request.getfixturevalue(f"{backend}_url"))


@pytest.fixture
def counted_server_url(request: pytest.FixtureRequest, backend: str) -> str:
    """Return the URL of the backend's server."""
    return str(request.getfixturevalue(f"{backend}_server_url"))


@pytest.fixture
async def checkpointer(framework: Framework, database_url: str) -> AsyncIterator[Any]:
    """Yield the framework's checkpointer, opened on one kind of database after the other."""
    async with framework.client.Checkpointer(database_url) as opened:
        yield opened
