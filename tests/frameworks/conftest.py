"""Fixtures of the tests with a framework."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.frameworks.backends import TESTED
from tests.frameworks.framework import Framework, framework_under_test
from tests.support.matrix import on_each


@pytest.fixture(scope="session")
def framework() -> Framework:
    """Give the framework under test; without it the tests fail and say what to run."""
    return framework_under_test()


@pytest.fixture(scope="session", params=on_each(TESTED))
def backend(request: pytest.FixtureRequest) -> str:
    """Name the database of one of the framework's own backends after the other."""
    return str(request.param)


@pytest.fixture
def backend_url(request: pytest.FixtureRequest, backend: str) -> str:
    """Give the URL of a database of it with the tables that we create, and nothing in them."""
    return str(request.getfixturevalue(f"{backend}_url"))


@pytest.fixture
def counted_server_url(request: pytest.FixtureRequest, backend: str) -> str:
    """Give its server."""
    return str(request.getfixturevalue(f"{backend}_server_url"))


@pytest.fixture
async def checkpointer(framework: Framework, database_url: str) -> AsyncIterator[Any]:
    """Give the door's checkpointer, opened on one kind of database after the other."""
    async with framework.door.Checkpointer(database_url) as opened:
        yield opened
