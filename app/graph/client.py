"""Clients for graph state and memories, the base of their facades, and creation of the tables.

Unlike a checkpointer they open where the tables are still missing, since users of LangGraph
call ``setup()`` inside the block; the schema is verified before the first operation.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, TypeVarTuple, cast

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.databases.base import PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.timeouts import TimeLimits, choose_retry
from threadlog.databases.urls import parse_url, show_url
from threadlog.errors import CubepiSchemaError, NotOpenError
from threadlog.models import GRAPH, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.runtime.batcher import Batcher
from threadlog.runtime.client import EngineClient, FactoryClient, client_of
from threadlog.runtime.external import check_one_source, check_pool, entered_already, not_open
from threadlog.runtime.home import Home
from threadlog.runtime.sync_client import SyncEngineClient, SyncFactoryClient
from threadlog.runtime.sync_client import client_of as sync_client_of
from threadlog.runtime.transactions import (
    Operation,
    OwnedRunner,
    SharedRunner,
    TransactionRunner,
    ping,
    translate_errors,
)
from threadlog.schema.opening import initialise_schema, open_client, open_sync_client, verify_part

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(eq=False, slots=True)
class PutRequest:
    """An operation that stores no more if it is run again."""

    operation: Callable[..., Any]
    args: tuple[Any, ...]
    """Its arguments after the runner."""

    size: int | None = 0
    """See `Request`; the size of its rows limits no batch."""

    is_withdrawn: bool = False

    thread_id: str = ""
    """See `Request`; all have one connection."""

    def busy_reason(self, seconds: float) -> str:
        """Return the reason of the `PoolTimeoutError` of a put that waited for so long."""
        return f"No connection was free for {seconds:g} s"


def put_together(transactions: TransactionRunner, requests: Sequence[PutRequest]) -> list[Any]:
    """Run operations in one transaction, or one alone in its own."""
    if len(requests) == 1:
        return [requests[0].operation(transactions, *requests[0].args)]

    def put(uow: UnitOfWork) -> list[Any]:
        runner = SharedRunner(uow, transactions)
        return [request.operation(runner, *request.args) for request in requests]

    return transactions.write(put, idempotent=True)


class _VerifiedClient:
    """A client whose database is verified before the first operation."""

    _client: EngineClient | FactoryClient | SyncEngineClient | SyncFactoryClient
    _part: SchemaPart
    _is_shared: bool
    _verified = False

    joins_inserts: bool
    """True if one statement stores a checkpoint with its values."""

    def __str__(self) -> str:
        """Return the URL without its password."""
        return str(self._client)

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        return f"<{type(self).__name__} {self} {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """True if the checkpointer is open."""
        return self._client.is_open


class GraphClient(_VerifiedClient):
    """Runs operations on graph state in asyncio."""

    _client: EngineClient | FactoryClient
    _batcher: Batcher[PutRequest, None] | None = None
    """Runs what `put` is given, in an embedded database of a URL."""

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        client: EngineClient | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        initialise: bool = True,
        part: SchemaPart = GRAPH,
    ) -> None:
        """Create a client of a URL or of an application's engine; nothing connects yet.

        Args:
            url: the database.
            engine: an engine of the application's, in place of a URL.
            client: an open client of a URL, whose connections are used and never closed.
            min_pool_size: connections to a URL that are opened at the start.
            max_pool_size: the most connections to a URL at once.
            retry_seconds: see `threadlog.Checkpointer`.
            initialise: whether an SQLite database of a URL without tables is given them.
            part: the part of the schema that the operations work on.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot be
                used.
        """
        size = PoolSize(min_pool_size, max_pool_size)
        self._client = client_of(part, url, engine, None, client, size, retry_seconds)
        self._is_shared = client is not None
        self._part = part
        self.joins_inserts = self._client.backend.joins_inserts
        self._initialise = initialise

    @property
    def home(self) -> Home | None:
        """The event loop that the client was opened in; None while closed."""
        return self._client.home

    @property
    def operations(self) -> EngineClient | FactoryClient:
        """The client that has the connections."""
        return self._client

    async def open(self) -> None:
        """Connect, and verify the server; the tables may be missing."""
        self._verified = False
        if self._is_shared:
            await self._client.write(initialise_schema, self._part)
        else:
            await open_client(self._client, initialise=self._initialise, verify=False)
        client = self._client
        if isinstance(client, EngineClient) and client.backend.embedded and client.writing:
            self._batcher = Batcher(client, client.writing, put_together)

    async def close(self) -> None:
        """Wait for running calls, for up to five seconds, and close own connections."""
        if not self._is_shared:
            await self._client.close()

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write."""
        if not self._verified:
            await self._verify()
        return await self._client.write(operation, *args, **kwargs)

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads."""
        if not self._verified:
            await self._verify()
        return await self._client.read(operation, *args, **kwargs)

    async def put(
        self, operation: Callable[[TransactionRunner, *Ts], None], *args: *Ts, single: bool
    ) -> None:
        """Run an operation that stores no more if it is run again.

        In an embedded database, which has one connection, those that wait share a transaction.

        Args:
            operation: the operation.
            args: its arguments after the runner.
            single: whether it runs one statement.
        """
        if not self._verified:
            await self._verify()
        batcher = self._batcher
        if batcher is not None and (batcher.waiting or batcher.pool.slots.locked()):
            await batcher.submit(PutRequest(operation, args))
        elif single:
            await self._client.write_statement(operation, *args)
        else:
            await self._client.write(operation, *args)

    async def setup(self) -> None:
        """Create the tables, or bring them up to date; any number of processes may at once.

        Raises:
            CubepiSchemaMismatch: the database holds another version.
            MissingExtraError: Alembic, which creates them, is not installed.
            NotOpenError: the client is not open.
        """
        try:
            await self._verify()
        except CubepiSchemaError:
            await self._client.write(create_tables, self._part)

    async def _verify(self) -> None:
        await self._client.read(verify_part, self._part)
        self._verified = True


class SyncGraphClient(_VerifiedClient):
    """Runs operations on graph state without asyncio; see `GraphClient`."""

    _client: SyncEngineClient | SyncFactoryClient

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        client: SyncEngineClient | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        part: SchemaPart = GRAPH,
    ) -> None:
        """Create a client of a URL or of an application's engine; see `GraphClient`.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot be
                used.
        """
        size = PoolSize(min_pool_size, max_pool_size)
        self._client = sync_client_of(part, url, engine, None, client, size, retry_seconds)
        self._is_shared = client is not None
        self._part = part
        self.joins_inserts = self._client.backend.joins_inserts

    @property
    def operations(self) -> SyncEngineClient | SyncFactoryClient:
        """The client that has the connections."""
        return self._client

    def open(self) -> None:
        """Connect, and verify the server; the tables may be missing."""
        self._verified = False
        if self._is_shared:
            self._client.write(initialise_schema, self._part)
        else:
            open_sync_client(self._client, verify=False)

    def close(self) -> None:
        """Close own connections; those in use when their call returns."""
        if not self._is_shared:
            self._client.close()

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write."""
        if not self._verified:
            self._verify()
        return self._client.write(operation, *args, **kwargs)

    def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads."""
        if not self._verified:
            self._verify()
        return self._client.read(operation, *args, **kwargs)

    def put(
        self, operation: Callable[[TransactionRunner, *Ts], None], *args: *Ts, single: bool
    ) -> None:
        """Run an operation that stores no more if it is run again; see `GraphClient.put`."""
        if not self._verified:
            self._verify()
        if single:
            self._client.write_statement(operation, *args)
        else:
            self._client.write(operation, *args)

    def setup(self) -> None:
        """Create the tables, or bring them up to date; see `GraphClient.setup`."""
        try:
            self._verify()
        except CubepiSchemaError:
            self._client.write(create_tables, self._part)

    def _verify(self) -> None:
        self._client.read(verify_part, self._part)
        self._verified = True


@dataclass(slots=True)
class _ClientSlot:
    """The client of a saver and of its copies: LangGraph's ``with_allowlist()`` makes copies."""

    client: GraphClient | SyncGraphClient | None


class Facade:
    """Base of the classes that LangGraph calls, with a context manager of both kinds."""

    _part: ClassVar[SchemaPart] = GRAPH

    def _connect_to(
        self,
        url: str | URL | None,
        engine: AsyncEngine | Engine | None,
        client: GraphClient | SyncGraphClient | None,
        **options: Any,
    ) -> None:
        """Set the source of connections; see `Saver.__init__`."""
        check_one_source(url, engine, client)
        check_pool(PoolSize(options["min_pool_size"], options["max_pool_size"]))
        choose_retry(options["retry_seconds"], TimeLimits())  # raises if it is invalid
        self._url = None if url is None else parse_url(url)
        if self._url is not None:
            backend_of(self._url)
        self._engine = engine
        self._options = options
        self._slot = _ClientSlot(client)
        self._client_is_external = client is not None

    def __str__(self) -> str:
        """Return the URL without its password."""
        if self._client_is_external:
            return str(self._slot.client)
        return show_url(self._url or cast("Engine", self._engine).url)

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        state = "open" if self._slot.client is not None and self._slot.client.is_open else "closed"
        return f"<{type(self).__name__} {self} {state}>"

    async def __aenter__(self) -> Self:
        """Connect, and verify the server; tables may still be missing, see `setup`.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            ConfigurationError: it is entered already, or the engine is not an asynchronous one.
        """
        if self._slot.client is not None:
            raise entered_already(self)
        client = GraphClient(
            self._url, engine=cast("Any", self._engine), part=self._part, **self._options
        )
        self._slot.client = client
        try:
            await client.open()
        except BaseException:
            self._slot.client = None
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for running calls, for up to five seconds, and close own connections."""
        if isinstance(self._slot.client, GraphClient) and not self._client_is_external:
            client, self._slot.client = self._slot.client, None
            await client.close()

    def __enter__(self) -> Self:
        """Connect, as for ``async with``."""
        if self._slot.client is not None:
            raise entered_already(self)
        client = SyncGraphClient(
            self._url, engine=cast("Any", self._engine), part=self._part, **self._options
        )
        self._slot.client = client
        try:
            client.open()
        except BaseException:
            self._slot.client = None
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close own connections."""
        if isinstance(self._slot.client, SyncGraphClient) and not self._client_is_external:
            client, self._slot.client = self._slot.client, None
            client.close()

    def setup(self) -> Any:
        """Create the tables, or bring them up to date; inside ``async with`` to be awaited.

        Does what ``threadlog migrate URL --part`` does with the name of the part; any number of
        processes may call it at once. In an SQLite database of a URL the tables are created on
        opening.

        Raises:
            CubepiSchemaMismatch: the tables are of another version.
            MissingExtraError: Alembic is not installed.
        """
        return self._opened().setup()

    def ping(self) -> Any:
        """Check that the database answers; inside ``async with`` to be awaited.

        See `threadlog.Checkpointer.ping`.

        Raises:
            StorageError: the database does not answer.
            NotOpenError: outside the block.
        """
        return self._opened().operations.read(ping)

    def _opened(self) -> GraphClient | SyncGraphClient:
        if self._slot.client is None:
            raise not_open(self)
        return self._slot.client

    def _async_client(self) -> GraphClient:
        client = self._slot.client
        if isinstance(client, GraphClient):
            return client
        if client is None:
            raise not_open(self)
        raise NotOpenError(
            f"The {type(self).__name__} of {self} was entered with 'with': use the synchronous "
            "methods, or enter it with 'async with'."
        )

    def _read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads, in the client's event loop if it has one."""
        client = self._opened()
        if isinstance(client, SyncGraphClient):
            return client.read(operation, *args, **kwargs)
        loop = home_loop(client)
        call = client.read(operation, *args, **kwargs)
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    def _write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write; see `_read`."""
        client = self._opened()
        if isinstance(client, SyncGraphClient):
            return client.write(operation, *args, **kwargs)
        loop = home_loop(client)
        call = client.write(operation, *args, **kwargs)
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    def _put(
        self, operation: Callable[[TransactionRunner, *Ts], None], *args: *Ts, single: bool
    ) -> None:
        """Run an operation that stores no more if it is run again; see `_read`."""
        client = self._opened()
        if isinstance(client, SyncGraphClient):
            client.put(operation, *args, single=single)
            return
        loop = home_loop(client)
        call = client.put(operation, *args, single=single)
        asyncio.run_coroutine_threadsafe(call, loop).result()


def home_loop(client: GraphClient) -> asyncio.AbstractEventLoop:
    """Return the event loop of a client, for a call from another thread.

    Raises:
        NotOpenError: the client is not open, or this is the loop's own thread, which would
            wait for itself.
        ForkedProcessError: this process was forked from the one that opened the client.
    """
    home = client.home
    if home is None or _running_loop() is home.loop:
        raise NotOpenError(
            f"{client} was entered with 'async with': use the asynchronous methods in the event "
            "loop, or enter it with 'with'."
        )
    home.check(client)
    return home.loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def create_tables(transactions: TransactionRunner, part: SchemaPart) -> None:
    """Create the tables of a part, or bring them up to date.

    Raises:
        CubepiSchemaMismatch: the database holds another version.
        MissingExtraError: Alembic, which creates them, is not installed.
    """
    from threadlog.schema import migrate  # noqa: PLC0415 - Alembic is optional, and only for this

    runner = cast("OwnedRunner", transactions)
    with translate_errors(runner.backend), runner.connect() as connection:
        migrate.upgrade_on(connection, runner.backend, part, runner.sleep)
