"""Databases with all parts of the schema."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.exporting.helpers import PARTS
from tests.support.databases import SharedDatabase
from tests.support.servers.products import PRODUCTS
from tests.support.templates import create_file


def _whole(name: str) -> Any:
    """Create the fixture of a server's shared database."""

    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabase]:
        url = request.getfixturevalue(f"{name}_server_url")
        with closing(SharedDatabase(url, *PARTS)) as database:
            yield database

    return pytest.fixture(scope="session", name=f"whole_{name}")(shared)


for _name in PRODUCTS:
    globals()[f"whole_{_name}"] = _whole(_name)


@pytest.fixture
def whole_url(database_name: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, of each kind, with all parts of the schema."""
    if database_name == "sqlite":
        return create_file(request.getfixturevalue("sqlite_url"), *PARTS)
    return str(request.getfixturevalue(f"whole_{database_name}").empty())
