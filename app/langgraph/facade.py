"""The client of a saver or a store: opening, closing, and running operations."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, ParamSpec, Self, TypeAlias, TypeVar, cast

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.databases.base import PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.timeouts import TimeLimits, choose_retry
from threadlog.databases.urls import parse_url, show_url
from threadlog.errors import NotOpenError
from threadlog.graph.client import GraphClient, SyncGraphClient
from threadlog.models import GRAPH, SchemaPart
from threadlog.runtime.external import check_one_source, check_pool, entered_already, not_open
from threadlog.runtime.transactions import Operation

P = ParamSpec("P")
T = TypeVar("T")

Method: TypeAlias = Literal["read", "write", "write_statement"]
"""The method of a client that runs an operation."""


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
        client: GraphClient | None,
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
        if isinstance(self._slot.client, SyncGraphClient):
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
        return self._call("read", operation, *args, **kwargs)

    def _write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._call("write", operation, *args, **kwargs)

    def _call(
        self, method: Method, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an operation without asyncio, or in the client's event loop from another thread."""
        client = self._opened()
        if isinstance(client, SyncGraphClient):
            done: T = getattr(client, method)(operation, *args, **kwargs)
            return done
        loop = _home_loop(client)
        call = getattr(client, method)(operation, *args, **kwargs)
        result: T = asyncio.run_coroutine_threadsafe(call, loop).result()
        return result


def _home_loop(client: GraphClient) -> asyncio.AbstractEventLoop:
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
