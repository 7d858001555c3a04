"""Databases with all parts of the schema."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.databases import SharedDatabase
from tests.support.servers.products import PRODUCTS
from tests.support.templates import create_file
from threadlog.models import ALL_PARTS


def _shared(name: str) -> Any:
    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabase]:
        url = request.getfixturevalue(f"{name}_server_url")
        with closing(SharedDatabase(url, *ALL_PARTS)) as database:
            yield database

    return pytest.fixture(scope="session", name=f"{name}_with_all")(shared)


for _name in PRODUCTS:
    globals()[f"{_name}_with_all"] = _shared(_name)


@pytest.fixture
def full_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a database with all parts, and no rows."""
    if database_name != "sqlite":
        return str(request.getfixturevalue(f"{database_name}_with_all").empty())
    return create_file(request.getfixturevalue("sqlite_url"), *ALL_PARTS)
