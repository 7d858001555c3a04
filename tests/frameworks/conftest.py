"""Fixtures of the tests with a framework."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.frameworks.backends import TESTED
from tests.frameworks.framework import FORMER, VARIABLE, Framework, framework_under_test
from tests.support.matrix import FULL, databases_of, on_each


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the former name of the framework cannot change.

    Our checkpointers are the same classes for both, so that each database needs to run below one
    of them. On the databases for which the framework has a backend of its own, that is its own.
    """
    if FULL or os.environ.get(VARIABLE) != FORMER:
        return
    left_out = {
        item
        for item in items
        if not {"backend", "pair"} & set(getattr(item, "fixturenames", ()))
        and {"postgres", "mariadb"} & set(databases_of(item))
    }
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


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
