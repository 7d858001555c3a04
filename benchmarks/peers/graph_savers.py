"""Savers of graph state: ours, and LangGraph's for SQLite."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.peers.names import LANGGRAPH, OURS, OURS_ON_SQLITE


@asynccontextmanager
async def opened_savers(mysql: str, folder: Path) -> AsyncIterator[Mapping[str, Any]]:
    """Give the savers, open and set up, by their names; none where threadlog has none.

    Args:
        mysql: the URL of a database for ours.
        folder: where the files of the two on SQLite are made.
    """
    ours = _ours()
    if ours is None:
        yield {}
        return
    async with AsyncExitStack() as stack:
        theirs = AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db"))
        savers = {
            OURS_ON_SQLITE: await stack.enter_async_context(ours(f"sqlite:///{folder}/graph.db")),
            LANGGRAPH: await stack.enter_async_context(theirs),
            OURS: await stack.enter_async_context(ours(mysql)),
        }
        for saver in savers.values():
            await saver.setup()
        yield savers


def _ours() -> Any:
    try:
        return import_module("threadlog.langgraph").Saver
    except ImportError:
        return None
