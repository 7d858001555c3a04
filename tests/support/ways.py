"""Ways to open a checkpointer, each made to look like the asynchronous one.

A test that uses the fixture `checkpointer` and is marked ``every_way`` runs on all of them. They
differ in the source of the sessions, not in the results of the methods.
"""

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing
from copy import copy
from functools import cached_property, partial
from typing import Any, Final, NoReturn, cast

from sqlalchemy import Connection, Engine, QueuePool, create_engine, inspect, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import AsyncAdaptedQueuePool

from tests.support.databases import (
    SYNCHRONOUS,
    create_schema,
    engine_for,
    on_connection,
    pools_of,
)
from tests.support.surroundings import CHOSEN, entered, product_url, sync_product_url
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import StorageError
from threadlog.models import MESSAGES, SchemaPart


def host_engine(url: str, **options: Any) -> AsyncEngine:
    """Create an engine as an asynchronous application would."""
    return engine_for(url, **{"poolclass": AsyncAdaptedQueuePool, **options})


def sync_host_engine(url: str, **options: Any) -> Engine:
    """Create an engine as a synchronous application would."""
    plain = make_url(url)
    drivername = SYNCHRONOUS[plain.get_backend_name()]
    options = {"poolclass": QueuePool, **options}
    if drivername.endswith("pymysql"):  # see `sync_product_url`
        options["connect_args"] = {"ssl_disabled": True, **options.get("connect_args", {})}
    return create_engine(plain.set(drivername=drivername), **options)


async def ensure_schema(url: str, part: SchemaPart = MESSAGES) -> None:
    """Create the schema of an SQLite file, which threadlog does not do on another's engine."""

    def create(connection: Connection) -> None:
        if not inspect(connection).has_table(part.version_table.name):
            create_schema(connection, part)

    if url.startswith("sqlite"):
        await on_connection(url, create)


@asynccontextmanager
async def open_engine(url: str, part: SchemaPart = MESSAGES) -> AsyncIterator[AsyncEngine]:
    """Create an application's asynchronous engine; at the end no connection may be in use."""
    await ensure_schema(url, part)
    engine = host_engine(url)
    try:
        yield engine
        _assert_none_in_use(engine.pool)
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_sync_engine(url: str, part: SchemaPart = MESSAGES) -> AsyncIterator[Engine]:
    """Create an application's synchronous engine; at the end no connection may be in use."""
    await ensure_schema(url, part)
    engine = sync_host_engine(url)
    try:
        yield engine
        _assert_none_in_use(engine.pool)
    finally:
        engine.dispose()


def _assert_none_in_use(pool: Any) -> None:
    assert cast("QueuePool", pool).checkedout() == 0, "a connection was not given back"


ITERATORS: Final = frozenset({"stream", "export", "reencrypt_all"})
"""The methods that return an iterator."""


class _Each:
    """Calls each method of a checkpointer in a certain way."""

    _call: Callable[..., Any]
    _stream: Callable[..., Any]
    _owner: str | None = None

    def scoped(self, owner: str) -> Any:
        """Return the same for the threads of one owner."""
        copied = copy(self)
        copied._owner = owner
        return copied

    def _scope(self, log: Any) -> Any:
        return log if self._owner is None else log.scoped(self._owner)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method."""
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._stream if name in ITERATORS else self._call, name)


class EachInASession(_Each):
    """Calls each method on a session that is committed right after, again after a deadlock."""

    def __init__(
        self, checkpointer: Checkpointer, factory: async_sessionmaker[AsyncSession]
    ) -> None:
        self._checkpointer = checkpointer
        self._factory = factory

    async def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                async with self._factory.begin() as session:
                    return await getattr(self._bound(session), name)(*args, **kwargs)
            except StorageError as error:
                if not error.retryable:
                    raise

    async def _stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with self._factory.begin() as session:
            async for item in getattr(self._bound(session), name)(*args, **kwargs):
                yield item

    def _bound(self, session: AsyncSession) -> Any:
        return self._scope(self._checkpointer.bind(session))


class EachInAPlainSession(_Each):
    """Calls each method on a plain session, as `EachInASession` does on an asynchronous one."""

    def __init__(self, checkpointer: SyncCheckpointer, factory: sessionmaker[Session]) -> None:
        self._checkpointer = checkpointer
        self._factory = factory

    def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                with self._factory.begin() as session:
                    return getattr(self._bound(session), name)(*args, **kwargs)
            except StorageError as error:
                if not error.retryable:
                    raise

    def _stream(self, name: str, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self._factory.begin() as session:
            yield from getattr(self._bound(session), name)(*args, **kwargs)

    def _bound(self, session: Session) -> Any:
        return self._scope(self._checkpointer.bind(session))


class EachInAThread(_Each):
    """Calls each method of a synchronous checkpointer in a thread."""

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer

    async def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        log = self._scope(self._checkpointer)
        return await asyncio.to_thread(getattr(log, name), *args, **kwargs)

    async def _stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        log, end = self._scope(self._checkpointer), object()
        items = getattr(log, name)(*args, **kwargs)
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield item


class EachInAFork(_Each):
    """Calls each method of a synchronous checkpointer in a process that is forked from this one.

    The parent uses its connections at the same time.
    """

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer
        self._here, self._there = multiprocessing.Pipe()
        self._child = os.fork()
        if not self._child:
            self._serve()

    def _serve(self) -> NoReturn:
        try:
            self._here.close()
            while (call := self._there.recv()) is not None:
                name, args, kwargs = call
                try:
                    found = getattr(self._checkpointer, name)(*args, **kwargs)
                    self._there.send((list(found) if name in ITERATORS else found, None))
                except Exception as error:  # noqa: BLE001 - raised in the parent
                    self._there.send((None, error))
        finally:
            os._exit(0)

    def close(self) -> None:
        """End the process."""
        self._here.send(None)
        os.waitpid(self._child, 0)

    def _answer(self, call: tuple[Any, ...]) -> Any:
        self._here.send(call)
        found, error = self._here.recv()
        if error is not None:
            raise error
        return found

    async def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        async with self._one_at_a_time:
            found, _ = await asyncio.gather(
                asyncio.to_thread(self._answer, (name, args, kwargs)),
                asyncio.to_thread(self._checkpointer.load, "the parent's"),
            )
            return found

    async def _stream(self, name: str, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for item in await self._call(name, *args, **kwargs):
            yield item

    @cached_property
    def _one_at_a_time(self) -> asyncio.Lock:
        return asyncio.Lock()


@asynccontextmanager
async def own(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on a URL; at the end no connection may be in use."""
    async with entered(Checkpointer(product_url(url), min_pool_size=0)) as checkpointer:
        yield checkpointer
        for pool in pools_of(checkpointer):
            _assert_none_in_use(pool)


@asynccontextmanager
async def engine(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on an application's engine."""
    async with open_engine(url) as theirs, Checkpointer(engine=theirs) as checkpointer:
        yield checkpointer


@asynccontextmanager
async def factory(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on an application's session factory, with options that are usual."""
    async with open_engine(url) as theirs:
        sessions = async_sessionmaker(theirs, expire_on_commit=False, autoflush=False)
        async with Checkpointer(session_factory=sessions) as checkpointer:
            yield checkpointer


@asynccontextmanager
async def joined(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer whose every call is bound to a session of its own."""
    async with open_engine(url) as theirs, Checkpointer(engine=theirs) as checkpointer:
        yield cast("Checkpointer", EachInASession(checkpointer, async_sessionmaker(theirs)))


@asynccontextmanager
async def sync(url: str) -> AsyncIterator[Checkpointer]:
    """Open a synchronous checkpointer on a URL."""
    with SyncCheckpointer(sync_product_url(url)) as checkpointer, ExitStack() as stack:
        if CHOSEN == "forked-child":
            checkpointer.list_threads(limit=1)  # the parent has connections
            fork = stack.enter_context(closing(EachInAFork(checkpointer)))
            yield cast("Checkpointer", fork)
        else:
            yield cast("Checkpointer", EachInAThread(checkpointer))


@asynccontextmanager
async def sync_joined(url: str) -> AsyncIterator[Checkpointer]:
    """Open a synchronous checkpointer whose every call is bound to a session of its own."""
    async with open_sync_engine(url) as theirs:
        sessions = sessionmaker(theirs)
        with SyncCheckpointer(session_factory=sessions) as checkpointer:
            bound = EachInAPlainSession(checkpointer, sessions)
            yield cast("Checkpointer", EachInAThread(bound))


WAYS: Final[dict[str, Callable[[str], AbstractAsyncContextManager[Checkpointer]]]] = {
    way.__name__: way for way in (own, engine, factory, joined, sync, sync_joined)
}
"""Each by its name; tests that are not about the ways use the first."""
