"""Databases with thread control beside the message log, in place of those without."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tests.support.databases import SharedDatabase, create_schema
from tests.support.servers.products import PRODUCTS
from threadlog import SyncCheckpointer
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


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with both parts, to copy."""
    path = tmp_path_factory.mktemp("template") / "threadlog.db"
    url = f"sqlite:///{path}"
    with SyncCheckpointer(url):
        pass
    engine = create_engine(url)
    with engine.begin() as connection:
        create_schema(connection, CONTROL)
    engine.dispose()
    return path
