"""Checkpointers on other databases, and on a server that is not on this machine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from cubeloop.checkpointer.mysql import MySQLCheckpointer
from cubeloop.checkpointer.postgres import PostgresCheckpointer
from cubeloop.checkpointer.sqlite import SQLiteCheckpointer

from benchmarks.distance import distance
from benchmarks.peers.names import FRAMEWORK, OURS
from benchmarks.place import Place
from threadlog.cubeloop import Checkpointer

AWAY_MS: Final = 0.5
AWAY: Final = f"MySQL {AWAY_MS} ms away"
POSTGRES: Final = "PostgreSQL"
SQLITE: Final = "SQLite"

Checkpointers = Mapping[str, Mapping[str, Any]]
"""Checkpointers by their database, and there by their names."""


@asynccontextmanager
async def opened_elsewhere(place: Place) -> AsyncIterator[Checkpointers]:
    """Yield threadlog's checkpointers and cubeloop's own, open."""
    async with AsyncExitStack() as stack:
        away = await stack.enter_async_context(distance(place.mysql, AWAY_MS))
        made: Mapping[str, Mapping[str, Any]] = {
            AWAY: {OURS: Checkpointer(away), FRAMEWORK: MySQLCheckpointer(away)},
            POSTGRES: {
                OURS: Checkpointer(place.postgres),
                FRAMEWORK: PostgresCheckpointer(place.postgres),
            },
            SQLITE: {
                OURS: Checkpointer(f"sqlite:///{place.folder}/log.db"),
                FRAMEWORK: SQLiteCheckpointer(str(place.folder / "cubeloop.db")),
            },
        }
        yield {
            database: {name: await stack.enter_async_context(one) for name, one in by_name.items()}
            for database, by_name in made.items()
        }
