"""Helpers for tests that register schemes of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
