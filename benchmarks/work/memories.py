"""Memories: items of a store of LangGraph's interface, one operation after the other."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final

from langgraph.store.base import PutOp

from benchmarks.peers.graph_stores import Stores
from benchmarks.piece import Piece, Run
from benchmarks.stopwatch import ms_each

_FOUND: Final = 10
_VALUE: Final = {"text": "x" * 500, "n": 1}
_NAMESPACE: Final = ("tenant", "user", "memories")

_numbers = count()


def put_on(database: str) -> str:
    """Return the name of the work of storing an item."""
    return f"put a memory, {database}"


def get_on(database: str) -> str:
    """Return the name of the work of reading an item."""
    return f"get a memory, {database}"


def search_on(database: str) -> str:
    """Return the name of the work of reading the items of a namespace."""
    return f"search {_FOUND} memories, {database}"


def memories(stores: Stores, times: int) -> Sequence[Piece]:
    """Return the work of each store: puts, gets and searches one after the other."""
    pieces = []
    for database, by_name in stores.items():
        works = {put_on: _put, get_on: _get, search_on: _search}
        for name, work in works.items():
            runs = [Run(one, partial(work, store, times)) for one, store in by_name.items()]
            pieces.append(Piece(name(database), "ms", runs))
    return pieces


async def _put(store: Any, times: int) -> float:
    async def put() -> None:
        for _ in range(times):
            await store.aput(_NAMESPACE, f"memory {next(_numbers)}", _VALUE)

    return await ms_each(put(), times)


async def _get(store: Any, times: int) -> float:
    namespace = await _filled(store)

    async def get() -> None:
        for number in range(times):
            item = await store.aget(namespace, f"{number % _FOUND}")
            assert item.value == _VALUE  # noqa: S101 - a wrong read is no figure

    return await ms_each(get(), times)


async def _search(store: Any, times: int) -> float:
    namespace = await _filled(store)

    async def search() -> None:
        for _ in range(times):
            found = await store.asearch(namespace, limit=_FOUND)
            assert len(found) == _FOUND  # noqa: S101 - a wrong read is no figure

    return await ms_each(search(), times)


async def _filled(store: Any) -> tuple[str, ...]:
    """Store as many items as a search finds; return their namespace."""
    namespace = ("tenant", "another user", "memories")
    await store.abatch([PutOp(namespace, f"{number}", _VALUE) for number in range(_FOUND)])
    return namespace
