"""Helpers for tests that register schemes of their own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from threadlog.persistence.registry import CHECKPOINTERS, METADATA_STORES, PERSISTENCES


@contextmanager
def registries_restored() -> Iterator[None]:
    """Undo what is registered in the block."""
    registries: list[dict[str, Any]] = [CHECKPOINTERS, METADATA_STORES, PERSISTENCES]
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        for registry, builders in zip(registries, before, strict=True):
            registry.clear()
            registry.update(builders)


def package_is_missing(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    """Make imports of LangGraph's saver for a database fail as if it were not installed."""
    for module in (f"langgraph.checkpoint.{extra}", f"langgraph.checkpoint.{extra}.aio"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"threadlog.persistence.{extra}_saver", raising=False)
