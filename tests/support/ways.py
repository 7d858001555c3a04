"""The ways to have a checkpointer, each made to look like the asynchronous one.

A test that takes the fixture `checkpointer` and is marked ``every_way`` runs on all of them:
what differs is where the sessions come from, not what the methods do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast

from sqlalchemy import Engine, QueuePool, create_engine, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
)
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool

from tests.support.databases import create_schema, engine_for, on_connection, pools_of
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import StorageError

SYNCHRONOUS: Final = {
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
}


def host_engine(url: str, **options: Any) -> AsyncEngine:
    """Create an engine as an asynchronous host would."""
    return engine_for(url, **{"poolclass": AsyncAdaptedQueuePool, **options})


def sync_host_engine(url: str, **options: Any) -> Engine:
    """Create an engine as a synchronous host would."""
    plain = make_url(url)
    drivername = SYNCHRONOUS[plain.get_backend_name()]
    options = {"poolclass": QueuePool, **options}
    return create_engine(plain.set(drivername=drivername), **options)


async def ensure_schema(url: str) -> None:
    """Create the schema of an SQLite file, which a host's own engine is not given."""
    if url.startswith("sqlite"):
        await on_connection(url, create_schema)


class EachInASession:
    """Calls each method on a session that is committed right after, again after a deadlock."""

    def __init__(
        self, checkpointer: Checkpointer, factory: async_sessionmaker[AsyncSession]
    ) -> None:
        """Bind sessions of the factory."""
        self._checkpointer = checkpointer
        self._factory = factory

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method; what it raises rolls the session back."""
        if name.startswith("_"):
            raise AttributeError(name)

        async def once(*args: Any, **kwargs: Any) -> Any:
            async with self._factory.begin() as session:
                bound = self._checkpointer.bind(session)
                return await getattr(bound, name)(*args, **kwargs)

        async def call(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return await once(*args, **kwargs)
                except StorageError as error:
                    if not error.retryable:
                        raise

        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with self._factory.begin() as session:
                async for item in self._checkpointer.bind(session).stream(*args, **kwargs):
                    yield item

        return stream if name == "stream" else call


class EachInAThread:
    """Calls each method of a synchronous checkpointer in a thread."""

    def __init__(self, checkpointer: Any) -> None:
        """Take the checkpointer, or what looks like one."""
        self._checkpointer = checkpointer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method."""
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(getattr(self._checkpointer, name), *args, **kwargs)

        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            items, end = self._checkpointer.stream(*args, **kwargs), object()
            while (item := await asyncio.to_thread(next, items, end)) is not end:
                yield item

        return stream if name == "stream" else call


class EachInAPlainSession:
    """Calls each method on a plain session, as `EachInASession` does on an asynchronous one."""

    def __init__(self, checkpointer: SyncCheckpointer, factory: sessionmaker[Session]) -> None:
        """Bind sessions of the factory."""
        self._checkpointer = checkpointer
        self._factory = factory

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method; what it raises rolls the session back."""
        if name.startswith("_"):
            raise AttributeError(name)

        def once(*args: Any, **kwargs: Any) -> Any:
            with self._factory.begin() as session:
                return getattr(self._checkpointer.bind(session), name)(*args, **kwargs)

        def call(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return once(*args, **kwargs)
                except StorageError as error:
                    if not error.retryable:
                        raise

        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with self._factory.begin() as session:
                yield from self._checkpointer.bind(session).stream(*args, **kwargs)

        return stream if name == "stream" else call


@asynccontextmanager
async def own(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on a URL."""
    async with Checkpointer(url, min_pool_size=0) as checkpointer:
        yield checkpointer
        taken = [pool.checkedout() for pool in pools_of(checkpointer)]
        assert not any(taken), "a connection was not given back"


@asynccontextmanager
async def engine(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on a host's engine."""
    await ensure_schema(url)
    hosts = host_engine(url)
    async with Checkpointer(engine=hosts) as checkpointer:
        yield checkpointer
    await _give_back(hosts)


@asynccontextmanager
async def factory(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on a host's session factory, with options that hosts have."""
    await ensure_schema(url)
    hosts = host_engine(url)
    sessions = async_sessionmaker(hosts, expire_on_commit=False, autoflush=False)
    async with Checkpointer(session_factory=sessions) as checkpointer:
        yield checkpointer
    await _give_back(hosts)


@asynccontextmanager
async def joined(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer whose every call is bound to a session of its own."""
    await ensure_schema(url)
    hosts = host_engine(url)
    sessions = async_sessionmaker(hosts)
    async with Checkpointer(engine=hosts) as checkpointer:
        yield cast("Checkpointer", EachInASession(checkpointer, sessions))
    await _give_back(hosts)


@asynccontextmanager
async def sync(url: str) -> AsyncIterator[Checkpointer]:
    """Open a synchronous checkpointer on a URL."""
    with SyncCheckpointer(url) as checkpointer:
        yield cast("Checkpointer", EachInAThread(checkpointer))


@asynccontextmanager
async def sync_joined(url: str) -> AsyncIterator[Checkpointer]:
    """Open a synchronous checkpointer whose every call is bound to a session of its own."""
    await ensure_schema(url)
    hosts = sync_host_engine(url)
    sessions = sessionmaker(hosts)
    with SyncCheckpointer(session_factory=sessions) as checkpointer:
        bound = EachInAPlainSession(checkpointer, sessions)
        yield cast("Checkpointer", EachInAThread(bound))
    assert cast("QueuePool", hosts.pool).checkedout() == 0, "a connection was not given back"
    hosts.dispose()


async def _give_back(hosts: AsyncEngine) -> None:
    assert cast("QueuePool", hosts.pool).checkedout() == 0, "a connection was not given back"
    await hosts.dispose()


WAYS: Final[dict[str, Callable[[str], AbstractAsyncContextManager[Checkpointer]]]] = {
    "own": own,
    "engine": engine,
    "factory": factory,
    "joined": joined,
    "sync": sync,
    "sync-joined": sync_joined,
}
