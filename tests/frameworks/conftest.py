"""Fixtures of the tests with a framework."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.frameworks.framework import Framework, framework_under_test


@pytest.fixture(scope="session")
def framework() -> Framework:
    """Give the framework under test; without it the tests fail and say what to run."""
    return framework_under_test()


@pytest.fixture
async def checkpointer(framework: Framework, database_url: str) -> AsyncIterator[Any]:
    """Give the door's checkpointer, opened on one kind of database after the other."""
    async with framework.door.Checkpointer(database_url) as opened:
        yield opened
