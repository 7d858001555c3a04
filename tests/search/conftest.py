"""Databases with the search index."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from tests.support.databases import SharedDatabase, create_schema, on_connection
from tests.support.servers.products import PRODUCTS
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
    url = str(request.getfixturevalue("database_url"))
    for part in (CONTROL, SEARCH):
        asyncio.run(on_connection(url, partial(create_schema, part=part)))
    return url
