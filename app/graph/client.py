"""Clients for graph state and memories, with and without asyncio, and creation of the tables.

Unlike a checkpointer they open where the tables are still missing, since users of LangGraph
call ``setup()`` inside the block; the schema is verified before the first operation.
"""

from typing import ParamSpec, TypeVar, cast

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.databases.base import PoolSize
from threadlog.errors import CubepiSchemaError
from threadlog.models import GRAPH, SchemaPart
from threadlog.runtime.client import EngineClient, FactoryClient, client_of
from threadlog.runtime.home import Home
from threadlog.runtime.sync_client import SyncEngineClient, SyncFactoryClient
from threadlog.runtime.sync_client import client_of as sync_client_of
from threadlog.runtime.transactions import (
    Operation,
    OwnedRunner,
    TransactionRunner,
    translate_errors,
)
from threadlog.schema.opening import open_client, open_sync_client
from threadlog.schema.verify import verify_schema

P = ParamSpec("P")
T = TypeVar("T")


class _VerifiedClient:
    """A client whose database is verified before the first operation."""

    _client: EngineClient | FactoryClient | SyncEngineClient | SyncFactoryClient
    _verified = False

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

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
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
            min_pool_size: connections to a URL that are opened at the start.
            max_pool_size: the most connections to a URL at once.
            retry_seconds: see `threadlog.Checkpointer`.
            initialise: whether an SQLite database of a URL without tables is given them.
            part: the part of the schema that the operations work on.

        Raises:
            ConfigurationError: none or both are given, or one cannot be used.
        """
        size = PoolSize(min_pool_size, max_pool_size)
        self._client = client_of(part, url, engine, None, size, retry_seconds)
        self.joins_inserts = self._client.backend.joins_inserts
        """True if one statement stores a checkpoint with its values."""

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
        await open_client(self._client, initialise=self._initialise, verify=False)

    async def close(self) -> None:
        """Wait for running calls, for up to five seconds, and close own connections."""
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

    async def write_statement(
        self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an operation whose one statement may write."""
        if not self._verified:
            await self._verify()
        return await self._client.write_statement(operation, *args, **kwargs)

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
            await self._client.write(create_tables)

    async def _verify(self) -> None:
        await self._client.read(_verify_part)
        self._verified = True


class SyncGraphClient(_VerifiedClient):
    """Runs operations on graph state without asyncio; see `GraphClient`."""

    _client: SyncEngineClient | SyncFactoryClient

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        part: SchemaPart = GRAPH,
    ) -> None:
        """Create a client of a URL or of an application's engine; see `GraphClient`.

        Raises:
            ConfigurationError: none or both are given, or one cannot be used.
        """
        size = PoolSize(min_pool_size, max_pool_size)
        self._client = sync_client_of(part, url, engine, None, size, retry_seconds)

    @property
    def operations(self) -> SyncEngineClient | SyncFactoryClient:
        """The client that has the connections."""
        return self._client

    def open(self) -> None:
        """Connect, and verify the server; the tables may be missing."""
        self._verified = False
        open_sync_client(self._client, verify=False)

    def close(self) -> None:
        """Close own connections; those in use when their call returns."""
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

    def write_statement(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation whose one statement may write."""
        if not self._verified:
            self._verify()
        return self._client.write_statement(operation, *args, **kwargs)

    def setup(self) -> None:
        """Create the tables, or bring them up to date; see `GraphClient.setup`."""
        try:
            self._verify()
        except CubepiSchemaError:
            self._client.write(create_tables)

    def _verify(self) -> None:
        self._client.read(_verify_part)
        self._verified = True


def _verify_part(transactions: TransactionRunner) -> None:
    """Check that the tables of the part are of this release's version.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """
    transactions.read(lambda uow: verify_schema(uow, transactions.part))


def create_tables(transactions: TransactionRunner) -> None:
    """Create the tables of the part, or bring them up to date.

    Raises:
        CubepiSchemaMismatch: the database holds another version.
        MissingExtraError: Alembic, which creates them, is not installed.
    """
    from threadlog.schema import migrate  # noqa: PLC0415 - Alembic is optional, and only for this

    runner = cast("OwnedRunner", transactions)
    with translate_errors(runner.backend), runner.connect() as connection:
        migrate.upgrade_on(connection, runner.backend, runner.part, runner.sleep)
