"""Read, search, store and delete the items of the memory store."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from operator import attrgetter, ge, gt, le, lt
from typing import Any, Final, NamedTuple, TypeAlias

from threadlog.encoding.json_equal import is_number, same_value
from threadlog.encoding.statement_size import ROW_OVERHEAD, check_row
from threadlog.graph.vectors import Vector, similarity
from threadlog.repositories import UnitOfWork
from threadlog.repositories.graph.store_item import (
    ItemQuery,
    NamespacePattern,
    NewItem,
    StoredItem,
    labels_of,
)
from threadlog.runtime.transactions import TransactionRunner

# Rows that are read at a time where conditions are evaluated here, and that are deleted at a time.
_PAGE: Final = 500
_SWEPT: Final = 1_000

_MISSING: Final = object()
_SCORE: Final = attrgetter("score")

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": gt,
    "$gte": ge,
    "$lt": lt,
    "$lte": le,
}
OPERATORS: Final = frozenset({"$eq", "$ne", *_COMPARISONS})
"""The operators of a filter."""


class Condition(NamedTuple):
    """A condition on a member of an item's value."""

    name: str
    operator: str
    value: Any

    def holds(self, item: Mapping[str, Any]) -> bool:
        """Return True if a value fulfils the condition.

        Only numbers are compared with numbers, exactly, and text with text, by code points.
        """
        found = item.get(self.name, _MISSING)
        if self.operator in _COMPARISONS:
            alike = (is_number(found) and is_number(self.value)) or (
                isinstance(found, str) and isinstance(self.value, str)
            )
            return alike and _COMPARISONS[self.operator](found, self.value)
        equal = found is not _MISSING and same_value(found, self.value)
        return equal is (self.operator == "$eq")


@dataclass(frozen=True, slots=True)
class Get:
    """Reads one item."""

    namespace: str
    key: str
    refresh: bool

    def run(self, uow: UnitOfWork) -> StoredItem | None:
        """Return the item; None if not found."""
        return uow.store_items.get(self.namespace, self.key)


@dataclass(frozen=True, slots=True)
class Search:
    """Reads items below a namespace."""

    prefix: str
    conditions: Sequence[Condition]
    limit: int
    offset: int
    refresh: bool
    query: "Vector | None" = None
    """Finds the items whose embeddings are the nearest, in this order."""

    def run(self, uow: UnitOfWork) -> list[StoredItem]:
        """Return a page of items."""
        if self.query is not None:
            scored = (
                item._replace(score=score, vectors=None)
                for item in self._matching(uow)
                if (score := similarity(self.query, item.vectors or b"")) is not None
            )
            return nlargest(self.offset + self.limit, scored, key=_SCORE)[self.offset :]
        if not self.conditions:
            return uow.store_items.search(ItemQuery(self.prefix), self.limit, offset=self.offset)
        return list(islice(self._matching(uow), self.offset, self.offset + self.limit))

    def _matching(self, uow: UnitOfWork) -> Iterator[StoredItem]:
        """Yield the items that fulfil the conditions, a page of rows in memory."""
        return (
            item
            for item in self._all(uow)
            if all(condition.holds(item.value) for condition in self.conditions)
        )

    def _all(self, uow: UnitOfWork) -> Iterator[StoredItem]:
        """Yield the items for which the database finds the conditions of equality fulfilled."""
        equal = {c.name: c.value for c in self.conditions if c.operator == "$eq"}
        query, last = ItemQuery(self.prefix, equal, indexed=self.query is not None), None
        while True:
            page = uow.store_items.search(query, _PAGE, after=last)
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1]


@dataclass(frozen=True, slots=True)
class ListNamespaces:
    """Reads the namespaces that have items."""

    patterns: Sequence[NamespacePattern]
    max_depth: int | None
    limit: int
    offset: int
    refresh = False

    def run(self, uow: UnitOfWork) -> list[tuple[str, ...]]:
        """Return a page of namespaces: shortened, then each once, then counted."""
        found = uow.store_items.namespaces(self.patterns, self.max_depth, self.limit, self.offset)
        return [labels_of(text) for text in found]


Reading: TypeAlias = Get | Search | ListNamespaces


def read_items(transactions: TransactionRunner, readings: Sequence[Reading]) -> list[Any]:
    """Run operations that read, in one transaction, and refresh the expiry of what they found.

    Returns:
        The result of each operation.
    """
    found = transactions.read(lambda uow: [reading.run(uow) for reading in readings])
    used: dict[str, StoredItem] = {}
    for reading, result in zip(readings, found, strict=True):
        for item in result if isinstance(result, list) else [result]:
            if reading.refresh and isinstance(item, StoredItem) and item.ttl_seconds is not None:
                used[item.item_digest] = item
    if used:
        # In one order, so that two transactions do not wait for each other.
        items = [used[digest] for digest in sorted(used)]
        transactions.write(
            lambda uow: uow.store_items.refresh(items), idempotent=True, single=len(items) == 1
        )
    return found


def write_items(
    transactions: TransactionRunner,
    items: Sequence[NewItem],
    to_delete: Sequence[tuple[str, str]] = (),
) -> None:
    """Store items and delete others, in one transaction.

    Args:
        transactions: runs transactions.
        items: the items to store, each name once.
        to_delete: namespaces and keys of the items to delete.

    Raises:
        TooLargeError: an item does not fit into a statement; nothing was written.
    """
    limit = transactions.statement_limit - ROW_OVERHEAD
    for item in items:
        texts = (item.namespace, item.item_key, json.dumps(item.value), item.vectors or b"")
        check_row(f"the value of {item.item_key[:100]!r}", *texts, limit=limit)

    def write(uow: UnitOfWork) -> None:
        if to_delete:
            uow.store_items.delete(to_delete)
        if items:
            uow.store_items.put(items)

    transactions.write(write, idempotent=True, single=len(items) + len(to_delete) == 1)


def sweep_items(transactions: TransactionRunner) -> int:
    """Delete some of the expired items, in one transaction; return their number, 0 at the end."""

    def sweep(uow: UnitOfWork) -> int:
        digests = uow.store_items.expired(_SWEPT)
        return uow.store_items.delete_expired(digests) if digests else 0

    return transactions.write(sweep, idempotent=True)


def count_expired(transactions: TransactionRunner) -> int:
    """Return the number of expired items that are still stored."""
    return transactions.read(lambda uow: uow.store_items.count_expired())
