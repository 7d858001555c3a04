"""Databases with thread control beside the message log, in place of those without."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.databases import SharedDatabase
from tests.support.servers.products import PRODUCTS
from threadlog.models import CONTROL, MESSAGES


def _product_fixtures(name: str, place: str) -> dict[str, Any]:
    """Create the fixtures of one server: its shared database, and the URL of it, emptied.

    Args:
        name: the server.
        place: empty, or the beginning of the names for a second database.
    """

    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabase]:
        url = request.getfixturevalue(f"{name}_server_url")
        with closing(SharedDatabase(url, MESSAGES, CONTROL)) as database:
            yield database

    def url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{place}{name}_with_control").empty())

    database_name, url_name = f"{place}{name}_with_control", f"{place}{name}_url"
    return {
        database_name: pytest.fixture(scope="session", name=database_name)(shared),
        url_name: pytest.fixture(name=url_name)(url),
    }


for _name in PRODUCTS:
    globals().update(_product_fixtures(_name, ""))
    globals().update(_product_fixtures(_name, "second_"))
