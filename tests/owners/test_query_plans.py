"""How databases find an owner's threads among 100,000 of 10,000 owners."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, text

from tests.support.databases import SERVERS, create_schema, engines_of, fresh_database, on_connection
from tests.support.matrix import on_each
from tests.support.plans import analyze, explain, recorded, rows_read
from threadlog import Checkpointer, SyncCheckpointer, ThreadSummary
from threadlog.models import CONTROL

_OWNERS: Final = 10_000
_THREADS: Final = 100_000

_DIGITS: Final = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
_PLACES: Final = ("a", "b", "c", "d", "e")
_NUMBERS: Final = (
    f"WITH digit AS ({_DIGITS}) SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d AS n "
    f"FROM {', '.join(f'digit {place}' for place in _PLACES)}"
)
_TEXTS: Final = {
    "sqlite": ("printf('%05d', {})", "datetime('2026-01-01', n || ' seconds')"),
    "postgresql": ("lpad(({})::text, 5, '0')", "timestamp '2026-01-01' + n * interval '1 second'"),
    "mysql": ("lpad({}, 5, '0')", "timestamp'2026-01-01' + INTERVAL n SECOND"),
    "mariadb": ("lpad({}, 5, '0')", "timestamp'2026-01-01' + INTERVAL n SECOND"),
}


def _fill(connection: Connection) -> None:
    """Store the threads, ten of each owner, of which every hundredth waits for an answer."""
    digits, time = _TEXTS[connection.dialect.name]
    thread = f"'t' || {digits.format('n')}"
    owner = f"'o' || {digits.format(f'n % {_OWNERS}')}"
    if connection.dialect.name in {"mysql", "mariadb"}:
        thread, owner = (f"concat({each.replace(' || ', ', ')})" for each in (thread, owner))
    waits = "CASE WHEN n / 10 % 100 = 7 THEN '{}' END"
    if connection.dialect.name == "postgresql":
        waits = f"({waits})::jsonb"
    numbers = f"FROM ({_NUMBERS}) numbers"
    connection.execute(
        text(
            "INSERT INTO cubepi_threads (thread_id, pending_request, updated_at) "
            f"SELECT {thread}, {waits.replace(':', chr(92) + ':')}, {time} {numbers}"
        )
    )
    connection.execute(
        text(
            "INSERT INTO threadlog_owners (thread_id, owner) "
            f"SELECT {thread.replace(':', chr(92) + ':')}, {owner.replace(':', chr(92) + ':')} "
            f"{numbers}"
        )
    )
