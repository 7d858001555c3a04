"""Tools for an application's tests, and suites for implementations of an interface."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from threadlog.errors import MissingExtraError
from threadlog.testing.rollback import rolled_back_engine, sync_rolled_back_engine
from threadlog.testing.tables import age_rows, create_all, create_all_async

if TYPE_CHECKING:
    from threadlog.testing.store_conformance import STORE_RULES, RuleResult, store_conformance

__all__ = [
    "STORE_RULES",
    "RuleResult",
    "age_rows",
    "create_all",
    "create_all_async",
    "rolled_back_engine",
    "store_conformance",
    "sync_rolled_back_engine",
]

_OF_SUITE: Final = {"STORE_RULES", "RuleResult", "store_conformance"}


def __getattr__(name: str) -> Any:
    """Import the suite for stores when it is first used: it needs LangGraph.

    Raises:
        MissingExtraError: LangGraph is not installed.
    """
    if name not in _OF_SUITE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        suite = import_module("threadlog.testing.store_conformance")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"langgraph", "langchain_core"}:
            raise
        raise MissingExtraError(error.name or "langgraph", "langgraph") from error
    # Also in place of the module, which has the name of its function.
    globals().update({each: getattr(suite, each) for each in _OF_SUITE})
    return globals()[name]
