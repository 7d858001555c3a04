"""The fixtures of a database server, created alike for every product."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from tests.support.databases import SharedDatabases, fresh_database
from tests.support.servers.product import Product
from tests.support.servers.products import MONGODB, REDIS
from tests.support.servers.server import Server, running_server
from tests.support.surroundings import surrounded

if TYPE_CHECKING:
    from pymongo import MongoClient


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


def mongodb_fixtures() -> dict[str, Any]:
    """Create the fixtures of MongoDB, for a conftest module to define.

    ``mongodb_server``: the server of the whole run;
    ``mongodb_server_url``: its URL, without a database;
    ``mongodb_url``: the URL of a database of the test's own, without collections.
    """

    def server() -> Iterator[Server]:
        with running_server(MONGODB) as running:
            yield running

    def server_url(mongodb_server: Server) -> str:
        return mongodb_server.url

    def client(mongodb_server_url: str) -> "Iterator[MongoClient[Any]]":
        from pymongo import MongoClient  # noqa: PLC0415 - the frameworks' environments lack it

        with MongoClient[Any](mongodb_server_url) as opened:
            yield opened

    def database(mongodb_client: "MongoClient[Any]", mongodb_server_url: str) -> Iterator[str]:
        name = f"threadlog_test_{uuid4().hex[:12]}"
        url = make_url(mongodb_server_url).set(database=name)
        yield url.render_as_string(hide_password=False)
        mongodb_client.drop_database(name)

    return {
        "mongodb_server": pytest.fixture(scope="session", name="mongodb_server")(server),
        "mongodb_server_url": pytest.fixture(scope="session", name="mongodb_server_url")(
            server_url
        ),
        "mongodb_client": pytest.fixture(scope="session", name="mongodb_client")(client),
        "mongodb_url": pytest.fixture(name="mongodb_url")(database),
    }


def redis_fixtures() -> dict[str, Any]:
    """Create the fixtures of Redis, for a conftest module to define.

    ``redis_server``: the server of the whole run;
    ``redis_server_url``: its URL;
    ``redis_url``: the URL of its database, which is emptied first: only the first can be searched.
    """

    def server() -> Iterator[Server]:
        with running_server(REDIS) as running:
            yield running

    def server_url(redis_server: Server) -> str:
        return redis_server.url

    def database(redis_server_url: str) -> str:
        from redis import Redis  # noqa: PLC0415 - the frameworks' environments lack it

        with Redis.from_url(redis_server_url) as client:
            client.flushall()
        return redis_server_url

    return {
        "redis_server": pytest.fixture(scope="session", name="redis_server")(server),
        "redis_server_url": pytest.fixture(scope="session", name="redis_server_url")(server_url),
        "redis_url": pytest.fixture(name="redis_url")(database),
    }
