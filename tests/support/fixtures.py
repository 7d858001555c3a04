"""The fixtures of a database server, created alike for every product."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.databases import SharedDatabases, fresh_database
from tests.support.servers.product import Product
from tests.support.servers.server import Server, running_server
from tests.support.surroundings import surrounded


def product_fixtures(product: Product) -> dict[str, Any]:
    """Create the fixtures of one server, for a conftest module to define.

    For MySQL they are:

    ``mysql_server``: the server of the whole run; the run fails if there is none;
    ``mysql_server_url``: its URL, without a database;
    ``mysql_shared``, ``second_mysql_shared``: databases that are emptied and used again;
    ``mysql_database``: the URL of an empty database of the test's own;
    ``mysql_url``, ``second_mysql_url``: the URL of a database with the schema, and no rows;
    ``mysql_graph_url``: the URL of a database with the graph's tables, and no rows;
    ``mysql_store_url``: the URL of a database with the memory store's tables, and no rows.
    """

    def server() -> Iterator[Server]:
        with running_server(product) as running, surrounded(running.url):
            yield running

    def server_url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{product.name}_server").url)

    def shared(request: pytest.FixtureRequest) -> Iterator[SharedDatabases]:
        url = request.getfixturevalue(f"{product.name}_server_url")
        with closing(SharedDatabases(url)) as databases:
            yield databases

    def database(request: pytest.FixtureRequest) -> Iterator[str]:
        with fresh_database(request.getfixturevalue(f"{product.name}_server_url")) as url:
            yield url

    def messages_url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{product.name}_shared").messages.empty())

    def second_url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"second_{product.name}_shared").messages.empty())

    def graph_url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{product.name}_shared").graph.empty())

    def store_url(request: pytest.FixtureRequest) -> str:
        return str(request.getfixturevalue(f"{product.name}_shared").store.empty())

    of_session: dict[str, Callable[..., Any]] = {
        f"{product.name}_server": server,
        f"{product.name}_server_url": server_url,
        f"{product.name}_shared": shared,
        f"second_{product.name}_shared": shared,
    }
    of_test: dict[str, Callable[..., Any]] = {
        f"{product.name}_database": database,
        f"{product.name}_url": messages_url,
        f"second_{product.name}_url": second_url,
        f"{product.name}_graph_url": graph_url,
        f"{product.name}_store_url": store_url,
    }
    return {
        **{name: pytest.fixture(scope="session", name=name)(f) for name, f in of_session.items()},
        **{name: pytest.fixture(name=name)(f) for name, f in of_test.items()},
    }
