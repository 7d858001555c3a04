"""Stores of memories: ours, and LangGraph's for SQLite and PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from benchmarks.peers.names import LANGGRAPH, OURS
from benchmarks.place import Place
from threadlog.langgraph import Store

Stores = Mapping[str, Mapping[str, Any]]
"""Stores by their database, and there by their names."""


@asynccontextmanager
async def opened_stores(place: Place) -> AsyncIterator[Stores]:
    """Return the stores, open and set up. LangGraph has none for MySQL."""
    theirs_on_sqlite = str(place.folder / "langgraph_store.db")
    made: dict[str, dict[str, Any]] = {
        "SQLite": {
            OURS: Store(f"sqlite:///{place.folder}/store.db"),
            LANGGRAPH: AsyncSqliteStore.from_conn_string(theirs_on_sqlite),
        },
        "PostgreSQL": {
            OURS: Store(place.postgres),
            LANGGRAPH: AsyncPostgresStore.from_conn_string(place.postgres),
        },
        "MySQL": {OURS: Store(place.mysql)},
    }
    async with AsyncExitStack() as stack:
        opened = {
            database: {name: await stack.enter_async_context(one) for name, one in stores.items()}
            for database, stores in made.items()
        }
        for stores in opened.values():
            for store in stores.values():
                await store.setup()
        yield opened
