"""The floor: a loop over asyncmy, written by hand, with the fewest statements possible.

It does no more than these tables need to stay in order: no first contact with a thread, no check
of runs, no errors, no retries, no cancellation, no limit of a statement's size.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import asyncmy
from sqlalchemy import make_url

from benchmarks.conversation import question
from benchmarks.peers.contender import CONNECTIONS, AsyncContender
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.names import FLOOR
from benchmarks.peers.row import from_row, to_row

_LOCK: Final = (
    "SELECT (SELECT MAX(m.seq) FROM cubepi_messages m WHERE m.thread_id = %s FOR UPDATE)"
    " FROM cubepi_threads t WHERE t.thread_id = %s FOR UPDATE"
)
_INSERT: Final = (
    "INSERT INTO cubepi_messages (thread_id, seq, role, metadata, payload, run_id)"
    " VALUES (%s, %s, %s, %s, %s, %s)"
)
_LOAD: Final = (
    "SELECT role, metadata, payload FROM cubepi_messages WHERE thread_id = %s ORDER BY seq"
)
_LOAD_LAST: Final = (
    "SELECT role, metadata, payload FROM cubepi_messages WHERE thread_id = %s"
    " ORDER BY seq DESC LIMIT %s"
)
_COMMITTED: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"


class Floor(AsyncContender):
    """Three statements for an append, one for a load."""

    name = FLOOR

    def __init__(self, writing: Any, reading: Any, tables: LogTables) -> None:
        """Use two pools; the one for reads is in autocommit mode."""
        super().__init__(tables)
        self._writing = writing
        self._reading = reading

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, tables: LogTables) -> AsyncIterator[Self]:
        """Open the contender on a database."""
        async with _pool(url, autocommit=False) as writing, _pool(url, autocommit=True) as reading:
            yield cls(writing, reading, tables)

    def writer(self, thread_id: str) -> Callable[[], Awaitable[object]]:
        """See `AsyncContender.writer`."""
        message = question()

        async def append() -> None:
            row = to_row(message)
            async with self._writing.acquire() as connection:
                async with connection.cursor() as cursor:
                    await cursor.execute(_LOCK, (thread_id, thread_id))
                    (last,) = await cursor.fetchone()
                    await cursor.execute(_INSERT, (thread_id, last + 1, *row.values()))
                await connection.commit()

        return append

    def reader(self, thread_id: str, last: int | None) -> Callable[[], Awaitable[int]]:
        """See `AsyncContender.reader`."""

        async def read() -> int:
            async with self._reading.acquire() as connection, connection.cursor() as cursor:
                if last is None:
                    await cursor.execute(_LOAD, (thread_id,))
                else:
                    await cursor.execute(_LOAD_LAST, (thread_id, last))
                rows = await cursor.fetchall()
            return len([from_row(*row) for row in (rows if last is None else reversed(rows))])

        return read


@asynccontextmanager
async def _pool(url: str, *, autocommit: bool) -> AsyncIterator[Any]:
    parsed = make_url(url)
    async with asyncmy.create_pool(
        host=parsed.host,
        port=parsed.port or 3306,
        user=parsed.username,
        password=parsed.password or "",
        db=parsed.database,
        maxsize=CONNECTIONS,
        autocommit=autocommit,
        init_command=_COMMITTED,
    ) as pool:
        yield pool
