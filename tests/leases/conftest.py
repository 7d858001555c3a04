"""Databases with thread control beside the message log, in place of those without."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.databases import SharedDatabase
from tests.support.servers.products import PRODUCTS
from threadlog.models import CONTROL, MESSAGES


def _product_fixtures(name: str) -> dict[str, Any]:
    """Create the fixtures of one server: its shared database, and the URL of it, emptied."""

    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabase]:
        url = request.getfixturevalue(f"{name}_server_url")
        with closing(SharedDatabase(url, MESSAGES, CONTROL)) as database:
            yield database

    def url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{name}_with_control").empty())

    return {
        f"{name}_with_control": pytest.fixture(scope="session", name=f"{name}_with_control")(
            shared
        ),
        f"{name}_url": pytest.fixture(name=f"{name}_url")(url),
    }


for _name in PRODUCTS:
    globals().update(_product_fixtures(_name))
