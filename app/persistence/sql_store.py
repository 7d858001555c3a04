"""The metadata store in a SQL database."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.errors import CheckpointCorruptionError
from threadlog.graph.client import GraphClient
from threadlog.models import METADATA
from threadlog.persistence import expiry, runs, threads
from threadlog.persistence.types import ExpiredThread
from threadlog.runtime.external import check_one_source
from threadlog.runtime.methods import as_method
from threadlog.runtime.transactions import Operation

P = ParamSpec("P")
T = TypeVar("T")

Method: TypeAlias = Callable[Concatenate["MetadataStore", P], Coroutine[Any, Any, T]]


def _method(operation: Operation[P, T], *, writes: bool = False) -> Method[P, T]:
    """Return the method of a store that runs an operation."""

    @as_method(operation)
    async def method(self: "MetadataStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        run = self._client.write if writes else self._client.read
        return await run(operation, *args, **kwargs)

    return method


class MetadataStore:
    """Stores the rows of threads and runs in the database of a URL, or of the application's engine.

    `MetadataStoreProtocol` documents the methods; each may raise `StorageError`. Open it with a
    URL, or with an engine::

        async with MetadataStore("mysql://user:password@host/database") as store:
            await store.setup()  # if the tables may be missing

        store = MetadataStore(engine=engine)
        await store.setup()  # also opens it
        await store.aclose()

    Any number of tasks may use one store, and any number of processes one database. After a
    deadlock, a lock timeout or a lost connection a transaction is retried.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        client: GraphClient | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a store; nothing connects yet.

        Args:
            url: a database's URL, as for `Checkpointer`.
            engine: an engine of the application's, in place of a URL.
            client: a client of the server metadata that its owner opens and closes, in place of
                a URL.
            min_pool_size: connections to a URL that are opened at the start.
            max_pool_size: the most connections to a URL at once.
            retry_seconds: as for `Checkpointer`.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot be
                used.
        """
        check_one_source(url, engine, client)
        self._client = client or GraphClient(
            url,
            engine=engine,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
            retry_seconds=retry_seconds,
            part=METADATA,
        )
        self._client_is_external = client is not None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        """Show the class and its client, without a password."""
        return f"<{type(self).__name__} {self._client!r}>"

    async def __aenter__(self) -> Self:
        """Connect, and verify the server; the schema is verified before its first use.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            ConfigurationError: the application's engine has settings that would lose data; or
                the store is open already.
        """
        if not self._client_is_external:
            await self._client.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the store's own connections."""
        await self.aclose()

    async def setup(self) -> None:
        """Open the store if it is not open, and create the tables or upgrade them.

        Any number of processes may call this at once.

        Raises:
            CubepiSchemaMismatch: the database holds another version.
            MissingExtraError: Alembic, which creates the tables, is not installed.
        """
        if not self._client_is_external:
            async with self._opening:
                if not self._client.is_open:
                    await self.__aenter__()
        await self._client.setup()

    async def aclose(self) -> None:
        """Close the store's own connections, if open."""
        if not self._client_is_external:
            await self._client.close()

    fetch_thread_row = _method(threads.fetch_thread_row)
    create_thread = _method(threads.create_thread, writes=True)
    update_thread = _method(threads.update_thread, writes=True)
    search_thread_rows = _method(threads.search_thread_rows)
    delete_thread = _method(threads.delete_thread, writes=True)
    release_busy_thread = _method(threads.release_busy_thread, writes=True)
    create_run = _method(runs.create_run, writes=True)
    update_run_status = _method(runs.update_run_status, writes=True)
    fetch_run_row = _method(runs.fetch_run_row)
    list_run_rows = _method(runs.list_run_rows)
    delete_run = _method(runs.delete_run, writes=True)
    touch_runs = _method(runs.touch_runs, writes=True)
    fail_stale_runs = _method(runs.fail_stale_runs, writes=True)

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        The expired threads are selected once, without a lock; then each is one transaction, with
        its checkpoints if the database has the graph state.

        Raises:
            CheckpointCorruptionError: a thread's time to live cannot be decoded; the other
                threads were expired.
        """
        done: list[ExpiredThread] = []
        corrupt: CheckpointCorruptionError | None = None
        for thread_id in await self._client.read(expiry.expired_thread_ids, limit):
            try:
                expired = await self._expire(thread_id)
            except CheckpointCorruptionError as error:
                corrupt = corrupt or error
                continue
            if expired is not None:
                done.append(expired)
        if corrupt is not None:
            raise corrupt
        return done

    async def _expire(self, thread_id: UUID) -> ExpiredThread | None:
        return await self._client.write(expiry.expire_thread, thread_id)
