"""Databases with the search index."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.databases import SharedDatabase
from tests.support.servers.products import PRODUCTS
from tests.support.templates import create_file
from threadlog.models import CONTROL, MESSAGES, SEARCH


def _shared(name: str) -> Any:
    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabase]:
        url = request.getfixturevalue(f"{name}_server_url")
        with closing(SharedDatabase(url, MESSAGES, CONTROL, SEARCH)) as database:
            yield database

    return pytest.fixture(scope="session", name=f"{name}_with_search")(shared)


for _name in PRODUCTS:
    globals()[f"{_name}_with_search"] = _shared(_name)


@pytest.fixture
def search_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a database with the message log, thread control and the search index."""
    if database_name != "sqlite":
        return str(request.getfixturevalue(f"{database_name}_with_search").empty())
    return create_file(request.getfixturevalue("sqlite_url"), MESSAGES, CONTROL, SEARCH)
