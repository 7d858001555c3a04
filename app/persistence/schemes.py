"""threadlog's built-in schemes. Each imports its packages when it is opened."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import URL

from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError, MissingExtraError
from threadlog.graph.client import GraphClient
from threadlog.models import GRAPH, METADATA, STORE, SchemaPart
from threadlog.persistence.memory_store import InMemoryMetadataStore
from threadlog.persistence.registry import (
    PERSISTENCES,
    CheckpointerSpec,
    Persistence,
    register_checkpointer,
    register_metadata_store,
)
from threadlog.persistence.sql_store import MetadataStore

if TYPE_CHECKING:  # an extra
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from threadlog.persistence.mongodb_store import MongoMetadataStore
    from threadlog.runtime.client import EngineClient

MEMORY: Final = "memory"
"""The scheme of data in the memory of the process."""

_DIALECTS: Final = {
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}
_EXAMPLES: Final = {
    "sqlite": "sqlite:///file.db",
    "mysql": "mysql://user:password@host:3306/database",
    "mariadb": "mariadb://user:password@host:3306/database",
    "postgresql": "postgresql://user:password@host:5432/database",
}
_MONGODB_OPTIONS: Final = (
    *("serde", "ttl"),
    *("checkpoint_collection_name", "writes_collection_name"),
)
_OPTIONS: Final = ("min_pool_size", "max_pool_size", "retry_seconds", "serde")


def database_url(spec: CheckpointerSpec) -> URL:
    """Return the URL of a scheme's database.

    An ``sqlite`` URI that is not a URL is the path of a file.

    Raises:
        ConfigurationError: the URI is missing, cannot be parsed, or is not of the scheme's
            kind of database.
    """
    dialect = _DIALECTS[spec.scheme]
    uri = spec.required_uri(_EXAMPLES[dialect])
    if dialect == "sqlite" and "://" not in uri:
        return URL.create("sqlite", database=uri)
    url = parse_url(uri)
    named, plus, driver = url.drivername.partition("+")
    if _DIALECTS.get(named) != dialect:
        raise ConfigurationError(
            f"The scheme is {spec.scheme!r}, but the URI begins with {named}://. Use a URI such as "
            f"{_EXAMPLES[dialect]}, or another scheme."
        )
    return url.set(drivername=f"{dialect}{plus}{driver}")


@asynccontextmanager
async def native_client(
    spec: CheckpointerSpec, part: SchemaPart = GRAPH
) -> AsyncIterator[GraphClient]:
    """Open a database of threadlog's; create a part's missing tables if `setup_schema` is set."""
    options = spec.known_options(*_OPTIONS)
    options.pop("serde", None)
    client = GraphClient(database_url(spec), part=part, **options)
    await client.open()
    try:
        if spec.setup_schema:
            await client.setup()
        yield client
    finally:
        await client.close()


async def sharing_client(
    client: GraphClient, spec: CheckpointerSpec, part: SchemaPart = METADATA
) -> GraphClient:
    """Open another part of a database on the connections of a client, as `native_client` does."""
    shared = GraphClient(client=cast("EngineClient", client.operations), part=part)
    await shared.open()
    if spec.setup_schema:
        await shared.setup()
    return shared


@asynccontextmanager
async def native_checkpointer(spec: CheckpointerSpec) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
    """Open a `Saver`; its options are the pool sizes, ``retry_seconds`` and ``serde``."""
    from threadlog.langgraph import Saver  # noqa: PLC0415 - an extra

    async with native_client(spec) as client:
        yield Saver(client=client, serde=spec.options.get("serde"))


@asynccontextmanager
async def native_metadata_store(spec: CheckpointerSpec) -> AsyncIterator[MetadataStore]:
    """Open threadlog's metadata store; the option ``serde`` is ignored."""
    async with native_client(spec, METADATA) as client:
        yield MetadataStore(client=client)


@asynccontextmanager
async def native_persistence(spec: CheckpointerSpec) -> AsyncIterator[Persistence]:
    """Open a `Saver`, a `MetadataStore` and a `Store` on one engine."""
    from threadlog.langgraph import Saver, Store  # noqa: PLC0415 - an extra

    async with native_client(spec) as client:
        rows = await sharing_client(client, spec)
        items = await sharing_client(client, spec, STORE)
        saver = Saver(client=client, serde=spec.options.get("serde"))
        yield Persistence(saver, MetadataStore(client=rows), Store(client=items))


register_checkpointer(*_DIALECTS)(native_checkpointer)
register_metadata_store(*_DIALECTS)(native_metadata_store)
PERSISTENCES.update(dict.fromkeys(_DIALECTS, native_persistence))


@register_checkpointer(MEMORY)
@asynccontextmanager
async def memory_checkpointer(spec: CheckpointerSpec) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
    """Create LangGraph's InMemorySaver; the only option is ``serde``, a URI is ignored."""
    options = spec.known_options("serde")
    memory = _imported("langgraph.checkpoint.memory", "langgraph-checkpoint", "langgraph")
    yield memory.InMemorySaver(**options)


@register_metadata_store(MEMORY)
@asynccontextmanager
async def memory_metadata_store(spec: CheckpointerSpec) -> AsyncIterator[InMemoryMetadataStore]:
    """Create a metadata store in memory; URI and options are ignored."""
    yield InMemoryMetadataStore()


@register_checkpointer("mongodb", "mongo")
@asynccontextmanager
async def mongodb_checkpointer(spec: CheckpointerSpec) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
    """Open the saver of langgraph-checkpoint-mongodb, in the database that the URI names.

    The saver always creates its indexes when it is opened, regardless of ``setup_schema``.
    """
    options = spec.known_options(*_MONGODB_OPTIONS)
    uri = spec.required_uri("mongodb://host/database")
    package = "langgraph-checkpoint-mongodb"
    module = _imported("threadlog.persistence.mongodb_saver", package, "mongodb")
    # The client is synchronous and waits for the server.
    saver = await asyncio.to_thread(module.MongoSaver, uri, **options)
    try:
        yield saver
    finally:
        await asyncio.to_thread(saver.close)


@register_metadata_store("mongodb", "mongo")
@asynccontextmanager
async def mongodb_metadata_store(spec: CheckpointerSpec) -> AsyncIterator["MongoMetadataStore"]:
    """Open the metadata store in MongoDB; the checkpointer's options are ignored."""
    spec.known_options(*_MONGODB_OPTIONS)
    uri = spec.required_uri("mongodb://host/database")
    module = _imported("threadlog.persistence.mongodb_store", "pymongo", "mongodb")
    async with module.MongoMetadataStore(uri) as store:
        if spec.setup_schema:
            await store.setup()
        yield store


@register_checkpointer("redis")
@asynccontextmanager
async def redis_checkpointer(spec: CheckpointerSpec) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
    """Open the saver of langgraph-checkpoint-redis.

    The saver always creates its indexes when it is opened, regardless of ``setup_schema``.
    """
    options = spec.known_options("ttl", "checkpoint_prefix", "checkpoint_write_prefix")
    uri = spec.required_uri("redis://host:6379/0")
    package = "langgraph-checkpoint-redis"
    module = _imported("threadlog.persistence.redis_saver", package, "redis")
    async with module.opened_saver(uri, options) as saver:
        yield saver


def _imported(module: str, package: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, extra) from error
