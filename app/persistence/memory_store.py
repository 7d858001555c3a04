"""The metadata store in memory."""

import weakref
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast
from uuid import UUID

from sqlalchemy import Table, insert, select

from threadlog.graph.client import GraphClient, SyncGraphClient
from threadlog.models import METADATA
from threadlog.models.tables import APP_RUNS, APP_THREADS
from threadlog.persistence.expire_threads import GraphState, expire_graph_state
from threadlog.persistence.sql_store import MetadataStore
from threadlog.persistence.types import ExpiredThread
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import Operation, TransactionRunner

P = ParamSpec("P")
T = TypeVar("T")

Stored: TypeAlias = tuple[Table, list[dict[str, Any]]]
"""A table, and rows of it."""

_TABLES: Final = (APP_THREADS, APP_RUNS)


class InMemoryMetadataStore(MetadataStore):
    """Stores the rows of threads and runs in the memory of this process: in SQLite, at once.

    It is open from the start and needs no extra, since it uses the standard library's driver.
    A method does not wait in the event loop, so that any loop may use a store.
    """

    def __init__(self, checkpointer: GraphState | None = None) -> None:
        """Create an empty store.

        Args:
            checkpointer: the graph state of threads that expire: ``delete`` calls its
                ``adelete_thread``, ``keep_latest`` its ``aprune`` if it has one.
        """
        client = _MemoryClient()
        super().__init__(client=cast("GraphClient", client))
        weakref.finalize(self, client.database.close)
        self._checkpointer = checkpointer

    async def _expire(self, thread_id: UUID) -> ExpiredThread | None:
        rows = await self._client.read(_rows_of, thread_id)
        expired = await super()._expire(thread_id)
        if expired is not None and self._checkpointer is not None:
            try:
                await expire_graph_state(self._checkpointer, expired)
            except BaseException:
                if expired.strategy == "delete":
                    await self._client.write(_restore, rows)
                raise
        return expired


class _MemoryClient:
    """Runs operations on a database in memory, in place of a `GraphClient`."""

    def __init__(self) -> None:
        self.database = SyncGraphClient("sqlite://", min_pool_size=0, part=METADATA)
        self.database.open()

    def __repr__(self) -> str:
        return repr(self.database)

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.database.write(operation, *args, **kwargs)

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.database.read(operation, *args, **kwargs)

    async def setup(self) -> None:
        """Do nothing: the tables were created on opening."""


def _rows_of(transactions: TransactionRunner, thread_id: UUID) -> list[Stored]:
    """Return the rows of a thread and its runs, to restore them."""

    def read(uow: UnitOfWork) -> list[Stored]:
        selects = [select(table).where(table.c.thread_id == thread_id) for table in _TABLES]
        found = [[dict(row) for row in uow.execute(each).mappings()] for each in selects]
        return list(zip(_TABLES, found, strict=True))

    return transactions.read(read)


def _restore(transactions: TransactionRunner, stored: list[Stored]) -> None:
    def restore(uow: UnitOfWork) -> None:
        for table, rows in stored:
            if rows:
                uow.execute(insert(table), rows)

    transactions.write(restore)
