"""The metadata store in a SQL database."""

import asyncio
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.errors import CheckpointCorruptionError
from threadlog.graph.client import GraphDoor
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

    _is_shared = False

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
    ) -> None:
        """Create from a URL or the application's engine, without connecting; see `Checkpointer`.

        Raises:
            ConfigurationError: neither or both are given, or one is not valid.
        """
        self._door = GraphDoor(
            url, engine=engine, min_pool_size=min_pool_size, max_pool_size=max_pool_size
        )
        self._opening = asyncio.Lock()

    @classmethod
    def sharing(cls, door: GraphDoor) -> Self:
        """Return a store on a client that its owner opens and closes."""
        store = cls.__new__(cls)
        store._door, store._is_shared = door, True  # noqa: SLF001 - the same class
        return store

    def __repr__(self) -> str:
        """Show the class and its database, without a password."""
        return f"<{type(self).__name__} {self._door!r}>"

    async def __aenter__(self) -> Self:
        """Connect, and verify the server; the schema is verified before its first use.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            ConfigurationError: the application's engine has settings that would lose data; or
                the store is open already.
        """
        if not self._is_shared:
            await self._door.open()
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
        if not self._is_shared:
            async with self._opening:
                if not self._door.is_open:
                    await self.__aenter__()
        await self._door.setup()

    async def aclose(self) -> None:
        """Close the store's own connections, if open."""
        if not self._is_shared:
            await self._door.close()

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """See `MetadataStoreProtocol.fetch_thread_row`."""
        return await self._door.read(threads.fetch_thread_row, thread_id)

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
        return await self._door.write(
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
        await self._door.write(
            threads.update_thread,
            thread_id,
            status_value=status_value,
            config=config,
            metadata=metadata,
            mark_state_updated=mark_state_updated,
        )

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """See `MetadataStoreProtocol.search_thread_rows`."""
        return await self._door.read(threads.search_thread_rows, request)

    async def delete_thread(self, thread_id: str) -> None:
        """See `MetadataStoreProtocol.delete_thread`."""
        await self._door.write(threads.delete_thread, thread_id)

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
        return await self._door.write(
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
        return await self._door.write(runs.update_run_status, run_id, status_value, error=error)

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """See `MetadataStoreProtocol.fetch_run_row`."""
        return await self._door.read(runs.fetch_run_row, thread_id, run_id)

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.list_run_rows`."""
        return await self._door.read(
            runs.list_run_rows,
            thread_id,
            limit=limit,
            offset=offset,
            status_value=status_value,
        )

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """See `MetadataStoreProtocol.delete_run`."""
        await self._door.write(runs.delete_run, thread_id, run_id)

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """See `MetadataStoreProtocol.touch_runs`."""
        await self._door.write(runs.touch_runs, run_ids)

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.fail_stale_runs`."""
        return await self._door.write(
            runs.fail_stale_runs,
            stale_after_seconds=stale_after_seconds,
            exclude_run_ids=exclude_run_ids,
            error=error,
        )

    async def release_busy_thread(
        self, thread_id: str, status_value: ThreadStatus = "error"
    ) -> bool:
        """See `MetadataStoreProtocol.release_busy_thread`."""
        return await self._door.write(threads.release_busy_thread, thread_id, status_value)

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        The expired threads are selected once, without a lock; then each is one transaction.

        Raises:
            CheckpointCorruptionError: a thread's time to live cannot be decoded; the other
                threads were expired.
        """
        done: list[ExpiredThread] = []
        corrupt: CheckpointCorruptionError | None = None
        for thread_id in await self._door.read(expiry.expired_thread_ids, limit):
            try:
                expired = await self._door.write(expiry.expire_thread, thread_id)
            except CheckpointCorruptionError as error:
                corrupt = corrupt or error
                continue
            if expired is not None:
                done.append(expired)
        if corrupt is not None:
            raise corrupt
        return done
