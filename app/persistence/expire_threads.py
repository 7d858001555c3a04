"""Expire threads, also in the background and across two separate databases."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from threadlog.persistence.registry import Persistence
from threadlog.persistence.types import ExpiredThread
from threadlog.persistence.validation import check_seconds

_LOG: Final = logging.getLogger(__name__)

_BATCH_SIZE: Final = 100


class Expiring(Protocol):
    """An object that expires threads, such as a metadata store."""

    async def expire_threads(self, *, limit: int = ...) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`."""


@asynccontextmanager
async def sweep_every(store: Expiring, seconds: float) -> AsyncIterator[None]:
    """Expire threads of a store, at once and every `seconds`, until the block ends.

    Any number of processes may sweep one database. A failed sweep is logged in one line and
    does not affect the block or the next sweep. At the end of the block the sweep has ended
    too: its current transaction is completed, not interrupted.

    Args:
        store: an open metadata store, to be closed after the block.
        seconds: the pause between two sweeps.

    Raises:
        InvalidInputError: `seconds` is not a number from 0 on.
    """
    check_seconds(seconds, "seconds")
    sweeper = asyncio.create_task(_sweep(store, seconds))
    try:
        yield
    finally:
        sweeper.cancel()
        await asyncio.wait({sweeper})


async def _sweep(store: Expiring, seconds: float) -> None:
    while True:
        expired: list[ExpiredThread] = []
        try:
            expired = await store.expire_threads(limit=_BATCH_SIZE)
        except Exception as error:  # noqa: BLE001 - the next sweep may succeed after any error
            _LOG.warning("Expiring threads failed: %s: %s", type(error).__name__, error)
        if expired:
            _LOG.info("Expired %d threads.", len(expired))
        # After a full batch more threads may be due.
        await asyncio.sleep(0 if len(expired) == _BATCH_SIZE else seconds)


def expiring(persistence: Persistence, *, separate: bool) -> Expiring | None:
    """Return the object to sweep. Return None if the metadata store has no expiry.

    Args:
        persistence: the open checkpointer and metadata store.
        separate: True if the metadata store cannot delete the graph state itself.
    """
    store = persistence.metadata_store
    if not hasattr(store, "expire_threads"):  # skeino's own stores have no expiry
        return None
    return _SeparateExpiry(persistence) if separate else store


class GraphState(Protocol):
    """The graph state of threads: a checkpointer of LangGraph."""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints."""

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = ...) -> None:
        """Delete all but the latest checkpoints of threads."""


async def expire_graph_state(checkpointer: GraphState, thread: ExpiredThread) -> None:
    """Apply the strategy of an expired thread; a checkpointer that cannot prune keeps all."""
    if thread.strategy == "delete":
        await checkpointer.adelete_thread(str(thread.thread_id))
        return
    with suppress(NotImplementedError):  # LangGraph's InMemorySaver cannot
        await checkpointer.aprune([str(thread.thread_id)], strategy=thread.strategy)


class _SeparateExpiry:
    """Expires threads of a metadata store, and then their graph state elsewhere."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        The two databases have no common transaction: if the process dies between them, the
        graph state of a deleted thread remains. A checkpointer that does not support pruning
        keeps the checkpoints that ``keep_latest`` should remove.

        Raises:
            Exception: the checkpointer's first error, after all threads were tried.
        """
        expired = await self._persistence.metadata_store.expire_threads(limit=limit)
        failures: list[Exception] = []
        for thread in expired:
            try:
                await expire_graph_state(self._persistence.checkpointer, thread)
            except Exception as error:  # noqa: BLE001 - the other threads' rows are deleted too
                failures.append(error)
        if failures:
            raise failures[0]
        return expired
