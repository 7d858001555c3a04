"""Suites with which an implementation is tested against the rules of its interface."""

from threadlog.errors import MissingExtraError

try:
    from threadlog.testing.store_conformance import STORE_RULES, RuleResult, store_conformance
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"langgraph", "langchain_core"}:
        raise
    raise MissingExtraError(error.name or "langgraph", "langgraph") from error

__all__ = ["STORE_RULES", "RuleResult", "store_conformance"]
