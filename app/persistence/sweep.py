"""Expires threads in the background."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from threadlog.persistence.types import ExpiredThread
from threadlog.persistence.validation import check_seconds

_LOG: Final = logging.getLogger(__name__)

_AT_ONCE: Final = 100


class Expiring(Protocol):
    """What threads can be expired in: a metadata store."""

    async def expire_threads(self, *, limit: int = ...) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`."""


@asynccontextmanager
async def sweep_every(store: Expiring, seconds: float) -> AsyncIterator[None]:
    """Expire threads of a store, at once and every so many seconds, until the block ends.

    Any number of processes may do it on one database. A sweep that fails is logged, in one
    line, and the next one comes in its time; the block is never disturbed. When it ends, so
    has the sweep that was under way: a transaction is finished, not broken off.

    Args:
        store: an open metadata store, which stays open for longer than the block.
        seconds: how long to rest between two sweeps.

    Raises:
        InvalidInputError: `seconds` is no number from 0 on.
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
            expired = await store.expire_threads(limit=_AT_ONCE)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next sweep may succeed
            _LOG.warning("Expiring threads failed: %s: %s", type(error).__name__, error)
        if expired:
            _LOG.info("Expired %d threads.", len(expired))
        # After as many as are looked at there may be more.
        await asyncio.sleep(0 if len(expired) == _AT_ONCE else seconds)
