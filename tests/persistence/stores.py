"""The metadata stores that tests are run on, and ways to change what they hold."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from pymongo import AsyncMongoClient
from skeino.persistence import InMemoryMetadataStore as SkeinoInMemoryMetadataStore
from skeino.persistence.sqlite_store import SqliteMetadataStore
from sqlalchemy import Connection, Engine, QueuePool, Update, inspect, select, update

from tests.support.databases import DATABASES, on_connection
from tests.support.ways import host_engine
from threadlog.models import GRAPH, METADATA, AppRun, AppThread, server_metadata
from threadlog.persistence import InMemoryMetadataStore, MetadataStore
from threadlog.persistence.mongodb_documents import changes
from threadlog.persistence.mongodb_store import MongoMetadataStore

THREADS: Final = server_metadata.tables["app_threads"]
RUNS: Final = server_metadata.tables["app_runs"]


class Behind(Protocol):
    """A helper that changes rows without using the store."""

    async def set_thread(self, thread_id: str, **values: Any) -> None:
        """Set columns of a thread."""

    async def set_run(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""

    async def runs(self) -> list[str]:
        """Return the ids of all runs."""


class InDatabase:
    """Changes rows of a database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def set_thread(self, thread_id: str, **values: Any) -> None:
        """Set columns of a thread."""
        key = AppThread.thread_id == UUID(thread_id)
        changed = update(THREADS).where(key).values(**values)
        await on_connection(self._url, lambda c: c.execute(changed) and None)

    async def set_run(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""
        changed = update(RUNS).where(AppRun.run_id == UUID(run_id)).values(**values)
        await on_connection(self._url, lambda c: c.execute(changed) and None)

    async def runs(self) -> list[str]:
        """Return the ids of all runs."""
        found = await on_connection(self._url, lambda c: c.scalars(select(RUNS.c.run_id)).all())
        return [str(run_id) for run_id in found]


class InMemory:
    """Changes rows of a store in memory, of ours."""

    def __init__(self, store: InMemoryMetadataStore) -> None:
        engine = store._client.database._client.engine  # type: ignore[attr-defined]  # ours
        self._engine: Engine = engine

    def execute(self, statement: Update) -> None:
        """Run a statement in a transaction."""
        with self._engine.begin() as connection:
            connection.execute(statement)

    async def set_thread(self, thread_id: str, **values: Any) -> None:
        """Set columns of a thread."""
        self.execute(update(THREADS).where(AppThread.thread_id == UUID(thread_id)).values(values))

    async def set_run(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""
        self.execute(update(RUNS).where(AppRun.run_id == UUID(run_id)).values(values))

    async def runs(self) -> list[str]:
        """Return the ids of all runs."""
        with self._engine.connect() as connection:
            return [str(run_id) for run_id in connection.scalars(select(RUNS.c.run_id))]


class InMongoDB:
    """Changes documents of a database of MongoDB."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def set_thread(self, thread_id: str, **values: Any) -> None:
        """Set columns of a thread."""
        await self._set("app_threads", thread_id, values)

    async def set_run(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""
        await self._set("app_runs", run_id, values)

    async def runs(self) -> list[str]:
        """Return the ids of all runs."""
        async with AsyncMongoClient[Any](self._url) as client:
            found = await client.get_default_database()["app_runs"].find({}, {"_id": 1}).to_list()
            return [document["_id"] for document in found]

    async def change(self, collection: str, query: Any, change: Any) -> None:
        """Update documents."""
        async with AsyncMongoClient[Any](self._url) as client:
            await client.get_default_database()[collection].update_many(query, change)

    async def _set(self, collection: str, key: str, values: dict[str, Any]) -> None:
        await self.change(collection, {"_id": key}, {"$set": changes(values)})


class InSkeinosMemory:
    """Changes rows of skeino's store in memory."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def set_thread(self, thread_id: str, **values: Any) -> None:
        """Set columns of a thread."""
        self._store._threads[thread_id].update(values)

    async def set_run(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""
        self._store._runs[run_id].update(values)

    async def runs(self) -> list[str]:
        """Return the ids of all runs."""
        return [str(run_id) for run_id in self._store._runs]


@dataclass(frozen=True)
class Opened:
    """A store that is open, and what changes its rows behind its back."""

    store: Any
    behind: Behind
    url: str = ""
    """The database; empty where it is in memory."""


def name() -> str:
    """Create an id."""
    return str(uuid4())


def ago(seconds: float) -> datetime:
    """Return a time in the past."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def thread(store: Any, thread_id: str | None = None, **values: Any) -> str:
    """Create a thread, and give its id."""
    thread_id = thread_id or name()
    given = {"metadata": {}, "config": {}, "ttl": None, "if_exists": "raise", **values}
    await store.create_thread(thread_id, **given)
    return thread_id


async def run(store: Any, thread_id: str, run_id: str | None = None) -> str:
    """Create a run, and give its id."""
    run_id = run_id or name()
    await store.create_run(run_id, thread_id, "agent", {}, {}, "reject")
    return run_id


async def ensure_graph_schema(url: str) -> None:
    """Create the schema of an SQLite file, which an application's own engine does not get."""

    def create(connection: Connection) -> None:
        for part in (GRAPH, METADATA):
            if not inspect(connection).has_table(part.version_table.name):
                part.metadata.create_all(connection)

    if url.startswith("sqlite"):
        await on_connection(url, create)


@asynccontextmanager
async def _memory(url: str) -> AsyncIterator[Opened]:
    store = InMemoryMetadataStore()
    yield Opened(store, InMemory(store))


@asynccontextmanager
async def _by_url(url: str) -> AsyncIterator[Opened]:
    async with MetadataStore(url, min_pool_size=0) as store:
        yield Opened(store, InDatabase(url), url)


@asynccontextmanager
async def _by_engine(url: str) -> AsyncIterator[Opened]:
    await ensure_graph_schema(url)
    hosts = host_engine(url)
    async with MetadataStore(engine=hosts) as store:
        yield Opened(store, InDatabase(url), url)
    assert isinstance(hosts.sync_engine.pool, QueuePool)
    assert hosts.sync_engine.pool.checkedout() == 0, "a connection was not given back"
    await hosts.dispose()


@asynccontextmanager
async def _skeinos_memory(url: str) -> AsyncIterator[Opened]:
    store = SkeinoInMemoryMetadataStore()
    yield Opened(store, InSkeinosMemory(store))


@asynccontextmanager
async def _skeinos_sqlite(url: str) -> AsyncIterator[Opened]:
    store = SqliteMetadataStore(url.removeprefix("sqlite:///"))
    await store.setup()
    yield Opened(store, InDatabase(url), url)
    await store.aclose()


@asynccontextmanager
async def _mongodb(url: str) -> AsyncIterator[Opened]:
    async with MongoMetadataStore(url) as store:
        yield Opened(store, InMongoDB(url), url)


Opener = Callable[[str], AbstractAsyncContextManager[Opened]]

KINDS: Final[dict[str, Opener]] = {
    "memory": _memory,
    **dict.fromkeys(DATABASES, _by_url),
    "mongodb": _mongodb,
    **{f"{name}-engine": _by_engine for name in DATABASES},
}
SHARED_KINDS: Final[dict[str, Opener]] = {
    "skeino-memory": _skeinos_memory,
    "skeino-sqlite": _skeinos_sqlite,
}


@asynccontextmanager
async def several_open(kind: str, url: str, number: int) -> AsyncIterator[list[Any]]:
    """Yield `number` stores on one database, each with its own connections; in memory only one."""
    async with AsyncExitStack() as stack:
        count = 1 if kind == "memory" else number
        opened = [await stack.enter_async_context(KINDS[kind](url)) for _ in range(count)]
        yield [opened[place % count].store for place in range(number)]
