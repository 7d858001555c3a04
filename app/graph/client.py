"""The doors to the graph state, one for asyncio and one without, and what sets its tables up.

Unlike a checkpointer's door they open where the tables are still missing, since users of
LangGraph call ``setup()`` inside the block; the schema is verified before the first use.
"""

import asyncio
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url, show_url
from threadlog.errors import CubepiSchemaError
from threadlog.models import GRAPH
from threadlog.repositories.unit_of_work import WRITES
from threadlog.runtime.client import AsyncDoor
from threadlog.runtime.door import Door, check_one_source, check_pool
from threadlog.runtime.session_sources import EngineSessions, FactorySessions, not_open
from threadlog.runtime.sync_client import SyncDoor
from threadlog.runtime.sync_session_sources import SyncEngineSessions
from threadlog.runtime.transactions import Store, translate_errors
from threadlog.schema.verify import verify_schema

P = ParamSpec("P")
T = TypeVar("T")


class _VerifiesLater(Door):
    """Verifies the schema before the first operation that succeeds in it."""

    part = GRAPH
    verifies_on_opening = False
    _verified = False

    def _after_verifying(
        self, operation: Callable[Concatenate[Store, P], T]
    ) -> Callable[Concatenate[Store, P], T]:
        if self._verified:
            return operation

        def run(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
            _verify(store)
            self._verified = True
            return operation(store, *args, **kwargs)

        return run


class GraphDoor(_VerifiesLater, AsyncDoor):
    """Runs operations on graph state in asyncio."""

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
    ) -> None:
        """Take a URL or a host's engine; nothing connects yet.

        Raises:
            ConfigurationError: none or both are given, or one cannot be used.
        """
        super().__init__(
            url,
            engine=engine,
            session_factory=None,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
        )
        self._hosts_engine = engine
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that it was opened in."""

    async def open(self) -> None:
        """Connect, and verify the server."""
        self._verified = False
        self.loop = asyncio.get_running_loop()
        await self._open()

    async def close(self) -> None:
        """Let what runs finish, for up to five seconds, and close connections of our own."""
        await self._close()

    async def write(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that writes."""
        return await self._write(self._after_verifying(operation), *args, **kwargs)

    async def read(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that only reads."""
        return await self._read(self._after_verifying(operation), *args, **kwargs)

    async def setup(self) -> None:
        """Create the tables, or bring them up to date; any number of processes may at once.

        Raises:
            CubepiSchemaMismatch: the database holds another version.
            MissingExtraError: Alembic, which creates them, is not installed.
            NotOpenError: it is not open.
        """
        try:
            await self._read(_verify)
        except CubepiSchemaError:
            with translate_errors(self._sessions.backend):
                async with self._engine().connect() as connection:
                    await connection.run_sync(partial(_create, self), _sleep)

    def _engine(self) -> AsyncEngine:
        sessions = self._sessions
        if isinstance(sessions, EngineSessions) and sessions.engine is not None:
            return sessions.engine.execution_options(**{WRITES: True})
        if isinstance(sessions, FactorySessions) and self._hosts_engine is not None:
            return self._hosts_engine
        raise not_open(sessions)


class SyncGraphDoor(_VerifiesLater, SyncDoor):
    """Runs operations on graph state without asyncio; see `GraphDoor`."""

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
    ) -> None:
        """Take a URL or a host's engine; nothing connects yet.

        Raises:
            ConfigurationError: none or both are given, or one cannot be used.
        """
        super().__init__(
            url,
            engine=engine,
            session_factory=None,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
        )
        self._hosts_engine = engine

    def open(self) -> None:
        """Connect, and verify the server."""
        self._verified = False
        self._open()

    def close(self) -> None:
        """Close connections of our own; those in use when their work is done."""
        self._close()

    def write(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that writes."""
        return self._write(self._after_verifying(operation), *args, **kwargs)

    def read(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that only reads."""
        return self._read(self._after_verifying(operation), *args, **kwargs)

    def setup(self) -> None:
        """See `GraphDoor.setup`."""
        try:
            self._read(_verify)
        except CubepiSchemaError:
            with translate_errors(self._sessions.backend), self._engine().connect() as connection:
                _create(self, connection, time.sleep)

    def _engine(self) -> Engine:
        sessions = self._sessions
        if isinstance(sessions, SyncEngineSessions) and sessions.engine is not None:
            return sessions.engine.execution_options(**{WRITES: True})
        if self._hosts_engine is not None and sessions.is_open:
            return self._hosts_engine
        raise not_open(sessions)


class GraphDoors:
    """The two ways into one database, of which one at a time is open."""

    def __init__(
        self,
        url: str | URL | None,
        *,
        engine: AsyncEngine | Engine | None,
        min_pool_size: int,
        max_pool_size: int,
    ) -> None:
        """Take a URL, or an engine of the host's of either kind.

        Raises:
            ConfigurationError: none or both are given, or one cannot be used either way.
        """
        check_one_source(url, engine, None)
        check_pool(min_pool_size, max_pool_size)
        self._url = None if url is None else parse_url(url)
        if self._url is not None:
            backend_of(self._url)
        self._engine = engine
        self._sizes = {"min_pool_size": min_pool_size, "max_pool_size": max_pool_size}

    def __str__(self) -> str:
        """Show the URL without its password."""
        if self._url is not None:
            return show_url(self._url)
        return show_url(self._engine.url) if self._engine is not None else ""

    @cached_property
    def asynchronous(self) -> GraphDoor:
        """The door for ``async with``."""
        return GraphDoor(self._url, engine=cast("Any", self._engine), **self._sizes)

    @cached_property
    def synchronous(self) -> SyncGraphDoor:
        """The door for ``with``."""
        return SyncGraphDoor(self._url, engine=cast("Any", self._engine), **self._sizes)

    @property
    def opened(self) -> GraphDoor | SyncGraphDoor | None:
        """The one that is open."""
        made = (vars(self).get(name) for name in ("asynchronous", "synchronous"))
        return next((door for door in made if door is not None and door.is_open), None)


class SharedDoor:
    """A door that somebody else opens and closes, in place of `GraphDoors`."""

    def __init__(self, door: GraphDoor) -> None:
        """Take the door."""
        self.asynchronous = door

    def __str__(self) -> str:
        """Show the URL without its password."""
        return str(self.asynchronous._sessions)  # noqa: SLF001 - one of us

    @property
    def opened(self) -> GraphDoor | None:
        """The door, if it is open."""
        return self.asynchronous if self.asynchronous.is_open else None


def _sleep(seconds: float) -> None:
    """Wait inside a greenlet, while the event loop goes on."""
    await_only(asyncio.sleep(seconds))


def _verify(store: Store) -> None:
    store.read(lambda uow: verify_schema(uow, store.part))


def _create(door: Door, connection: Connection, sleep: Callable[[float], None]) -> None:
    from threadlog.schema import migrate  # noqa: PLC0415 - Alembic is optional, and only for this

    migrate.upgrade_on(connection, door._sessions.backend, GRAPH, sleep)  # noqa: SLF001 - one of us
