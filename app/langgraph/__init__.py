"""LangGraph's checkpoints and memories in a SQL database.

The whole change for a graph that is to be kept::

    from threadlog.langgraph import Saver

    async with Saver("mysql://user:password@host/database") as saver:
        await saver.setup()
        graph = builder.compile(checkpointer=saver)
"""

from threadlog.errors import MissingExtraError

try:
    from threadlog.langgraph.saver import OwningSaver, Saver
    from threadlog.langgraph.store import BoundStore, Store
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"langgraph", "langchain_core"}:
        raise
    raise MissingExtraError(error.name or "langgraph", "langgraph") from error
from threadlog.graph.pruning import Pruned

__all__ = ["BoundStore", "OwningSaver", "Pruned", "Saver", "Store"]
