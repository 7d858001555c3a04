"""LangGraph's store of memories on a SQL database."""

import asyncio
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any, ClassVar, Final

from langgraph.store.base import BaseStore, IndexConfig, Op, Result, TTLConfig
from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from threadlog.encoding.validation import check_number
from threadlog.errors import ConfigurationError, NotOpenError, ThreadlogError
from threadlog.graph.client import Facade, GraphClient, SyncGraphClient
from threadlog.graph.memories import read_items, sweep_items, write_items
from threadlog.langgraph.embedding import TextIndex
from threadlog.langgraph.operations import abatch_of, batch_of
from threadlog.models import STORE, SchemaPart
from threadlog.runtime.client import ExternalClient
from threadlog.runtime.sync_client import SyncExternalClient

_LOG: Final = logging.getLogger(__name__)

_SWEEP_MINUTES: Final = 5
_MAX_SWEEP_MINUTES: Final = 1_000_000


class Store(Facade, BaseStore):
    """Stores the memories of LangGraph's graphs, with the guarantees of a `Checkpointer`.

    A context manager for both ``async with`` and ``with``, one at a time, as `Saver` is::

        async with Store("mysql://user:password@host/database") as store:
            await store.setup()
            graph = builder.compile(checkpointer=saver, store=store)

    Its methods are those of LangGraph's ``BaseStore``. Labels and keys may be of any length, are
    compared byte by byte, and contain anything but NUL, labels no full stop either. A search of
    the namespace ``("acme",)`` finds the items of ``("acme", "users")`` and none of
    ``("acme-corp",)``.
    """

    supports_ttl = True
    _part: ClassVar[SchemaPart] = STORE

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | Engine | None = None,
        client: GraphClient | SyncGraphClient | None = None,
        ttl: TTLConfig | None = None,
        index: IndexConfig | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a store; nothing connects before the block.

        Args:
            url: as for `threadlog.Checkpointer`.
            engine: an engine of the application's, in place of a URL: an ``AsyncEngine`` for
                ``async with``, an ``Engine`` for ``with``.
            client: a client of the memory store that its owner opens and closes, in place of a
                URL; the store then needs no block.
            ttl: when items expire, as for LangGraph's own stores. Expired items are never
                returned, whatever ``omit_expired`` is.
            index: which texts of items are embedded, by which function, as for LangGraph's own
                stores. ``query=`` of a search then finds the nearest: it compares the embeddings
                of all items that match otherwise, one by one.
            min_pool_size: connections to a URL that are opened on entering.
            max_pool_size: the most connections to a URL at once; further operations wait.
            retry_seconds: as for `threadlog.Checkpointer`.

        Raises:
            ConfigurationError: none or several of the first three are given, or an argument
                cannot be used.
        """
        self._index = None if index is None else TextIndex(index)
        self.ttl_config = ttl
        self._sweeper: asyncio.Task[None] | Future[None] | None = None
        self._stopping = threading.Event()
        self._connect_to(
            url,
            engine,
            client,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
            retry_seconds=retry_seconds,
        )

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop the sweeper, and close as `Saver` does."""
        try:
            await self._stop_task(None)
        finally:
            await super().__aexit__(*exc_info)

    def __exit__(self, *exc_info: object) -> None:
        """Stop the sweeper, and close as `Saver` does."""
        self._stop_thread(None)
        super().__exit__(*exc_info)

    def bind(
        self,
        session: AsyncSession
        | async_scoped_session[AsyncSession]
        | Session
        | scoped_session[Session],
    ) -> "BoundStore":
        """Return a store whose operations run in a session of the application.

        A memory is written in the application's transaction, and is gone if that rolls back; see
        `threadlog.Checkpointer.bind`. An ``AsyncSession`` is for the asynchronous methods, a
        ``Session`` for the others.

        Raises:
            NotOpenError: this store is not open.
            ConfigurationError: it is no session, or one of another kind of database.
        """
        if isinstance(session, async_scoped_session | scoped_session):
            session = session()
        if not isinstance(session, AsyncSession | Session):
            raise ConfigurationError(
                f"bind() takes an AsyncSession or a Session, not a {type(session).__name__}."
            )
        opened = self._opened().operations
        client: ExternalClient | SyncExternalClient
        if isinstance(session, AsyncSession):
            client = ExternalClient(session.sync_session, opened, STORE)
        else:
            client = SyncExternalClient(session, opened, STORE)
        return BoundStore(client, self.ttl_config, self._index)

    # --- Operations ------------------------------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations; the methods of the store for one operation run a batch of one.

        The operations that read see the items as they were before those that write, which are one
        transaction: if it raises nothing was written. Of several writes of one key the last counts.

        Args:
            ops: the operations.

        Returns:
            The results in the order of the operations; None for those that write.

        Raises:
            InvalidNamespaceError: a namespace is not valid; nothing was read or written.
            InvalidInputError: something else cannot be stored or searched for as it is; nothing
                was read or written.
            StorageError: the database refused or failed.
        """
        batch = batch_of(ops, self._index)
        found = self._read(read_items, batch.readings) if batch.readings else []
        if batch.changes:
            single = len(batch.changes) == 1
            self._put(write_items, batch.items, batch.to_delete, single=single)
        return batch.results(found)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        batch = await abatch_of(ops, self._index)
        client = self._async_client()
        found = await client.read(read_items, batch.readings) if batch.readings else []
        if batch.changes:
            single = len(batch.changes) == 1
            await client.put(write_items, batch.items, batch.to_delete, single=single)
        return batch.results(found)

    # --- Expiry ----------------------------------------------------------------------

    def sweep_ttl(self) -> Any:
        """Delete expired items; inside ``async with`` to be awaited.

        Returns:
            The number of deleted items.
        """
        if isinstance(self._opened(), GraphClient):
            return self._sweep()
        total = 0
        while swept := self._write(sweep_items):
            total += swept
        return total

    async def _sweep(self) -> int:
        total = 0
        while swept := await self._async_client().write(sweep_items):
            total += swept
        return total

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Any:
        """Delete expired items periodically until the block ends.

        Any number of processes may do so. Inside ``async with`` to be awaited.

        Args:
            sweep_interval_minutes: minutes between two sweeps, by default those of the
                configuration, or 5.

        Returns:
            The task, or inside ``with`` the future of the thread.
        """
        minutes = sweep_interval_minutes
        if minutes is None:
            minutes = (self.ttl_config or {}).get("sweep_interval_minutes")
        if minutes is None:
            minutes = _SWEEP_MINUTES
        check_number(minutes, "sweep_interval_minutes", most=_MAX_SWEEP_MINUTES)
        if isinstance(self._opened(), GraphClient):
            return self._start_task(minutes * 60)
        return self._start_thread(minutes * 60)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> Any:
        """Stop the sweeper; inside ``async with`` to be awaited.

        Args:
            timeout: the most seconds to wait for a sweep that runs; None for no limit.

        Returns:
            True if no sweeper runs any more.
        """
        if isinstance(self._opened(), GraphClient):
            return self._stop_task(timeout)
        return self._stop_thread(timeout)

    async def _start_task(self, seconds: float) -> "asyncio.Task[None]":
        if not isinstance(self._sweeper, asyncio.Task) or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep_every(seconds))
        return self._sweeper

    async def _sweep_every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._sweep()
            except ThreadlogError:
                _LOG.exception("Expired items were not deleted; the sweeper tries again.")

    async def _stop_task(self, timeout: float | None) -> bool:  # noqa: ASYNC109 - LangGraph's name
        if not isinstance(self._sweeper, asyncio.Task):
            return True
        self._sweeper.cancel()
        await asyncio.wait({self._sweeper}, timeout=timeout)
        return self._sweeper.done()

    def _start_thread(self, seconds: float) -> "Future[None]":
        if not isinstance(self._sweeper, Future) or self._sweeper.done():
            self._stopping = threading.Event()
            self._sweeper = Future()
            arguments = (seconds, self._stopping, self._sweeper)
            threading.Thread(target=self._sweep_in_thread, args=arguments, daemon=True).start()
        return self._sweeper

    def _sweep_in_thread(
        self, seconds: float, stopping: threading.Event, done: "Future[None]"
    ) -> None:
        while not stopping.wait(seconds):
            try:
                self.sweep_ttl()
            except ThreadlogError:
                _LOG.exception("Expired items were not deleted; the sweeper tries again.")
        done.set_result(None)

    def _stop_thread(self, timeout: float | None) -> bool:
        if not isinstance(self._sweeper, Future):
            return True
        self._stopping.set()
        return not wait_for([self._sweeper], timeout).not_done


class BoundStore(BaseStore):
    """The methods of a `Store` in one session of the application; see `Store.bind`."""

    supports_ttl = True

    def __init__(
        self,
        client: ExternalClient | SyncExternalClient,
        ttl: TTLConfig | None,
        index: TextIndex | None,
    ) -> None:
        """Create a store; `Store.bind` does."""
        self._client = client
        self.ttl_config = ttl
        self._index = index

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """See `Store.batch`; the transaction is the session's."""
        if not isinstance(self._client, SyncExternalClient):
            raise NotOpenError(
                "The store is bound to an AsyncSession. Use the asynchronous methods, or bind a "
                "Session."
            )
        batch = batch_of(ops, self._index)
        found = self._client.read(read_items, batch.readings) if batch.readings else []
        if batch.changes:
            self._client.write(write_items, batch.items, batch.to_delete)
        return batch.results(found)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `batch`."""
        if not isinstance(self._client, ExternalClient):
            raise NotOpenError(
                "The store is bound to a Session. Use the synchronous methods, or bind an "
                "AsyncSession."
            )
        batch = await abatch_of(ops, self._index)
        found = await self._client.read(read_items, batch.readings) if batch.readings else []
        if batch.changes:
            await self._client.write(write_items, batch.items, batch.to_delete)
        return batch.results(found)
