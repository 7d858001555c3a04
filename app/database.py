"""A message log, the state of graphs and memories in one database, on one pool."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from sqlalchemy import URL

from threadlog.checkpointer import Checkpointer
from threadlog.databases.base import PoolSize
from threadlog.databases.urls import parse_url
from threadlog.encryption import Encryption
from threadlog.errors import CubepiSchemaError
from threadlog.graph.client import GraphClient, SyncGraphClient
from threadlog.models import CONTROL, GRAPH, MESSAGES, STORE
from threadlog.runtime.client import EngineClient
from threadlog.runtime.external import check_pool
from threadlog.runtime.sync_client import SyncEngineClient
from threadlog.runtime.transactions import ping
from threadlog.schema.opening import open_client, open_sync_client, verify_log, with_encryption
from threadlog.sync_checkpointer import SyncCheckpointer

if TYPE_CHECKING:  # an extra
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from langgraph.store.base import IndexConfig, TTLConfig

    from threadlog.langgraph import Saver, Store


LogT = TypeVar("LogT", Checkpointer, SyncCheckpointer)


class _SharedConnections(Generic[LogT]):
    """A message log, a saver and a store on one client."""

    _log: LogT
    _graph: GraphClient | SyncGraphClient
    _items: GraphClient | SyncGraphClient
    _refusal: CubepiSchemaError | None = None
    """Why the message log cannot be used."""

    def __init__(
        self,
        serde: "SerializerProtocol | None",
        ttl: "TTLConfig | None",
        index: "IndexConfig | None",
    ) -> None:
        self._serde, self._ttl, self._index = serde, ttl, index

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        state = "open" if self._log.is_open else "closed"
        return f"<{type(self).__name__} {self._log.client} {state}>"

    @property
    def checkpointer(self) -> LogT:
        """The message log.

        Raises:
            CubepiSchemaUninitialized: the tables were missing on entering, and `setup` was not
                called.
            CubepiSchemaMismatch: the tables are of another version.
        """
        if self._refusal is not None:
            raise self._refusal
        return self._log

    @cached_property
    def saver(self) -> "Saver":
        """LangGraph's saver.

        Raises:
            MissingExtraError: LangGraph is not installed.
        """
        from threadlog.langgraph import Saver  # noqa: PLC0415 - an extra

        return Saver(client=self._graph, serde=self._serde)

    @cached_property
    def store(self) -> "Store":
        """LangGraph's store of memories.

        Raises:
            MissingExtraError: LangGraph is not installed.
        """
        from threadlog.langgraph import Store  # noqa: PLC0415 - an extra

        return Store(client=self._items, ttl=self._ttl, index=self._index)


class Database(_SharedConnections[Checkpointer]):
    """One database with a `Checkpointer`, a `Saver` and a `Store`, which share its connections.

    An asynchronous context manager::

        async with Database("mysql://user:password@host/database") as database:
            await database.setup()
            await database.checkpointer.append("order-17", [message])
            graph = builder.compile(checkpointer=database.saver, store=database.store)

    Each part of the schema is verified for itself: a database needs only the tables of what is
    used. In an SQLite database all tables are created on opening.
    """

    _graph: GraphClient
    _items: GraphClient

    def __init__(
        self,
        url: str | URL,
        *,
        serde: "SerializerProtocol | None" = None,
        ttl: "TTLConfig | None" = None,
        index: "IndexConfig | None" = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """Choose a database; nothing connects before the block.

        Applications with an engine of their own pass it to each of the three classes instead.

        Args:
            url: as for `Checkpointer`.
            serde: as for `threadlog.langgraph.Saver`.
            ttl: as for `threadlog.langgraph.Store`.
            index: as for `threadlog.langgraph.Store`.
            min_pool_size: connections that are opened on entering.
            max_pool_size: the most connections at once, of all three together.
            retry_seconds: as for `Checkpointer`.
            encryption: as for `Checkpointer`; for the message log only.

        Raises:
            ConfigurationError: an argument cannot be used.
        """
        super().__init__(serde, ttl, index)
        size = PoolSize(min_pool_size, max_pool_size)
        check_pool(size)
        self._client = EngineClient(parse_url(url), size, MESSAGES, retry_seconds)
        self._log = Checkpointer(client=self._client, encryption=encryption)
        self._graph = GraphClient(client=self._client, part=GRAPH)
        self._items = GraphClient(client=self._client, part=STORE)

    async def setup(self) -> None:
        """Create the tables of these parts, or bring them up to date.

        Any number of processes may do so at once.

        Raises:
            CubepiSchemaMismatch: the tables are of another version.
            MissingExtraError: Alembic is not installed.
        """
        log = [GraphClient(client=self._client, part=part) for part in (MESSAGES, CONTROL)]
        for client in (*log, self._graph, self._items):
            await client.setup()
        if self._refusal is not None:
            await self._enter_log()
        else:  # thread control may be new
            facts = replace(self._client.facts, **await self._client.read(verify_log))
            self._client.facts = with_encryption(facts, facts.encryption)

    async def __aenter__(self) -> Self:
        """Connect, and verify the server; tables may still be missing, see `setup`.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            ConfigurationError: it is entered already.
        """
        await open_client(self._client, verify=False)
        try:
            await self._graph.open()
            await self._items.open()
            await self._enter_log()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def ping(self) -> None:
        """Check that the database answers; see `Checkpointer.ping`."""
        await self._client.read(ping)

    async def _enter_log(self) -> None:
        """Start the message log, or keep the reason why it cannot be used."""
        self._refusal = None
        try:
            await self._log.__aenter__()
        except CubepiSchemaError as error:
            self._refusal = error

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for running calls, for up to five seconds, and close the connections."""
        try:
            if "store" in vars(self):
                await self.store.__aexit__(*exc_info)  # stops its sweeper
        finally:
            await self._log.__aexit__(*exc_info)
            await self._client.close()


class SyncDatabase(_SharedConnections[SyncCheckpointer]):
    """A `Database` without asyncio: a context manager with a `SyncCheckpointer`.

    ::

        with SyncDatabase("mysql://user:password@host/database") as database:
            database.setup()
            database.checkpointer.append("order-17", [message])
            graph = builder.compile(checkpointer=database.saver, store=database.store)
    """

    _graph: SyncGraphClient
    _items: SyncGraphClient

    def __init__(
        self,
        url: str | URL,
        *,
        serde: "SerializerProtocol | None" = None,
        ttl: "TTLConfig | None" = None,
        index: "IndexConfig | None" = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """Choose a database; see `Database`."""
        super().__init__(serde, ttl, index)
        size = PoolSize(min_pool_size, max_pool_size)
        check_pool(size)
        self._client = SyncEngineClient(parse_url(url), size, MESSAGES, retry_seconds)
        self._log = SyncCheckpointer(client=self._client, encryption=encryption)
        self._graph = SyncGraphClient(client=self._client, part=GRAPH)
        self._items = SyncGraphClient(client=self._client, part=STORE)

    def setup(self) -> None:
        """Create the tables of these parts, or bring them up to date; see `Database.setup`."""
        log = [SyncGraphClient(client=self._client, part=part) for part in (MESSAGES, CONTROL)]
        for client in (*log, self._graph, self._items):
            client.setup()
        if self._refusal is not None:
            self._enter_log()
        else:  # thread control may be new
            facts = replace(self._client.facts, **self._client.read(verify_log))
            self._client.facts = with_encryption(facts, facts.encryption)

    def __enter__(self) -> Self:
        """Connect, and verify the server; see `Database.__aenter__`."""
        open_sync_client(self._client, verify=False)
        try:
            self._graph.open()
            self._items.open()
            self._enter_log()
        except BaseException:
            self._client.close()
            raise
        return self

    def ping(self) -> None:
        """See `Database.ping`."""
        self._client.read(ping)

    def _enter_log(self) -> None:
        """Start the message log, or keep the reason why it cannot be used."""
        self._refusal = None
        try:
            self._log.__enter__()
        except CubepiSchemaError as error:
            self._refusal = error

    def __exit__(self, *exc_info: object) -> None:
        """Close the connections; those in use when their call returns."""
        if "store" in vars(self):
            self.store.__exit__(*exc_info)  # stops its sweeper
        self._log.__exit__(*exc_info)
        self._client.close()
