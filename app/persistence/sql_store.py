"""The metadata store in a SQL database."""

import asyncio
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.errors import CheckpointCorruptionError
from threadlog.graph.client import GraphClient
from threadlog.persistence import expiry, runs, threads
from threadlog.persistence.types import (
    ExpiredThread,
    IfExists,
    MultitaskStrategy,
    RunRow,
    RunStatus,
    Search,
    ThreadRow,
    ThreadStatus,
    TimeToLive,
)
from threadlog.runtime.external import check_one_source


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
            client: a client that its owner opens and closes, in place of a URL.
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

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """See `MetadataStoreProtocol.fetch_thread_row`."""
        return await self._client.read(threads.fetch_thread_row, thread_id)

    async def create_thread(
        self,
        thread_id: str,
        *,
        metadata: dict[str, Any],
        config: dict[str, Any],
        ttl: TimeToLive | None,
        if_exists: IfExists,
    ) -> ThreadRow:
        """See `MetadataStoreProtocol.create_thread`."""
        return await self._client.write(
            threads.create_thread,
            thread_id,
            metadata=metadata,
            config=config,
            ttl=ttl,
            if_exists=if_exists,
        )

    async def update_thread(
        self,
        thread_id: str,
        *,
        status_value: ThreadStatus | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        mark_state_updated: bool = False,
    ) -> None:
        """See `MetadataStoreProtocol.update_thread`."""
        await self._client.write(
            threads.update_thread,
            thread_id,
            status_value=status_value,
            config=config,
            metadata=metadata,
            mark_state_updated=mark_state_updated,
        )

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """See `MetadataStoreProtocol.search_thread_rows`."""
        return await self._client.read(threads.search_thread_rows, request)

    async def delete_thread(self, thread_id: str) -> None:
        """See `MetadataStoreProtocol.delete_thread`."""
        await self._client.write(threads.delete_thread, thread_id)

    async def create_run(
        self,
        run_id: str,
        thread_id: str,
        assistant_id: str,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
        multitask_strategy: MultitaskStrategy,
    ) -> RunRow:
        """See `MetadataStoreProtocol.create_run`."""
        return await self._client.write(
            runs.create_run,
            run_id,
            thread_id,
            assistant_id,
            metadata,
            kwargs,
            multitask_strategy,
        )

    async def update_run_status(
        self, run_id: str, status_value: RunStatus, *, error: str | None = None
    ) -> bool:
        """See `MetadataStoreProtocol.update_run_status`."""
        return await self._client.write(runs.update_run_status, run_id, status_value, error=error)

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """See `MetadataStoreProtocol.fetch_run_row`."""
        return await self._client.read(runs.fetch_run_row, thread_id, run_id)

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.list_run_rows`."""
        return await self._client.read(
            runs.list_run_rows,
            thread_id,
            limit=limit,
            offset=offset,
            status_value=status_value,
        )

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """See `MetadataStoreProtocol.delete_run`."""
        await self._client.write(runs.delete_run, thread_id, run_id)

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """See `MetadataStoreProtocol.touch_runs`."""
        await self._client.write(runs.touch_runs, run_ids)

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.fail_stale_runs`."""
        return await self._client.write(
            runs.fail_stale_runs,
            stale_after_seconds=stale_after_seconds,
            exclude_run_ids=exclude_run_ids,
            error=error,
        )

    async def release_busy_thread(
        self,
        thread_id: str,
        status_value: ThreadStatus = "error",
        *,
        mark_state_updated: bool = False,
    ) -> bool:
        """See `MetadataStoreProtocol.release_busy_thread`."""
        return await self._client.write(
            threads.release_busy_thread,
            thread_id,
            status_value,
            mark_state_updated=mark_state_updated,
        )

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        The expired threads are selected once, without a lock; then each is one transaction.

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
