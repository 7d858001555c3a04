"""Leases that end at once, without waiting."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, update

from tests.support.databases import on_connection
from threadlog.models import Lease

MINUTE: Final = timedelta(minutes=1)
"""Longer than any test."""

PAST: Final = datetime(2020, 1, 1, tzinfo=UTC)


async def end_leases(url: str) -> None:
    """Set the end of every lease to a time in the past."""

    def end(connection: Connection) -> None:
        held = Lease.expires_at.is_not(None)
        connection.execute(update(Lease).where(held).values(expires_at=PAST))

    await on_connection(url, end)
