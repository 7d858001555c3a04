"""Expires threads where rows and graph state are kept apart."""

from contextlib import suppress

from threadlog.persistence.registry import Persistence
from threadlog.persistence.sweep import Expiring
from threadlog.persistence.types import ExpiredThread


def expiring(persistence: Persistence, *, apart: bool) -> Expiring | None:
    """Give what a sweep is to work on; None where the metadata store knows of no expiry.

    Args:
        persistence: the two, open.
        apart: whether the graph state is out of the metadata store's reach.
    """
    store = persistence.metadata_store
    if not hasattr(store, "expire_threads"):  # made for skeino, whose stores have none
        return None
    return _Apart(persistence) if apart else store


class _Apart:
    """Expires threads of a metadata store, and then their graph state."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        Two stores have no transaction in common: if the process dies between them, the graph
        state of a thread that is gone stays. A checkpointer that cannot prune keeps what
        ``keep_latest`` is to remove.

        Raises:
            Exception: the first that the checkpointer raised, after all threads had their turn.
        """
        expired = await self._persistence.metadata_store.expire_threads(limit=limit)
        failures: list[Exception] = []
        for thread in expired:
            try:
                await self._unstamp(thread)
            except Exception as error:  # noqa: BLE001 - the rows of the others are gone as well
                failures.append(error)
        if failures:
            raise failures[0]
        return expired

    async def _unstamp(self, thread: ExpiredThread) -> None:
        checkpointer, thread_id = self._persistence.checkpointer, str(thread.thread_id)
        if thread.strategy == "delete":
            await checkpointer.adelete_thread(thread_id)
            return
        with suppress(NotImplementedError):
            await checkpointer.aprune([thread_id], strategy=thread.strategy)
