"""Convert the operations of LangGraph's stores, and their results."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from threadlog.encoding.validation import (
    check_count,
    check_json_object,
    check_name,
    check_number,
)
from threadlog.errors import InvalidInputError, InvalidJsonError
from threadlog.graph.memories import (
    OPERATORS,
    Condition,
    Get,
    ListNamespaces,
    Reading,
    Search,
)
from threadlog.graph.vectors import Vector, pack
from threadlog.langgraph.embedding import TextIndex
from threadlog.repositories.graph.store_item import (
    NamespacePattern,
    NewItem,
    StoredItem,
    labels_of,
    namespace_text,
)

# About a thousand years, so that every database has the time of the end.
_MAX_TTL: Final = 500_000_000
_RESERVED: Final = "langgraph"


@dataclass(slots=True)
class Batch:
    """Operations of one call, checked and converted."""

    index: TextIndex | None
    """Embeds texts; None if the store has no index."""

    readings: list[Reading] = field(default_factory=list)
    changes: dict[tuple[str, str], NewItem | None] = field(default_factory=dict)
    """The last change of each namespace and key; None deletes."""

    texts: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By namespace and key: the texts of an item to embed."""

    queries: dict[int, str] = field(default_factory=dict)
    """By place among `readings`: the texts of searches to embed."""

    _places: list[int | None] = field(default_factory=list)
    """For each operation the place of its result among those of `readings`."""

    @property
    def items(self) -> list[NewItem]:
        """The items to store, in one order for all, so that transactions do not deadlock."""
        return [new for _, new in sorted(self.changes.items()) if new is not None]

    @property
    def to_delete(self) -> list[tuple[str, str]]:
        """The namespaces and keys of the items to delete."""
        return sorted(name for name, new in self.changes.items() if new is None)

    def add(self, op: Op) -> None:
        """Add an operation.

        Raises:
            InvalidNamespaceError: a label or namespace is not valid.
            InvalidInputError: something else is not valid.
        """
        _check_labels(op)
        if isinstance(op, PutOp):
            namespace, key = namespace_text(op.namespace), _checked_key(op.key)
            new = self.changes[namespace, key] = _new_item(op, namespace, key)
            self.texts.pop((namespace, key), None)
            if new is not None and self.index is not None:
                self.texts[namespace, key] = self.index.texts_of(op, new.value)
            self._places.append(None)
        else:
            place = len(self.readings)
            if isinstance(op, SearchOp) and op.query:
                self._add_query(place, op.query)
            self._places.append(place)
            self.readings.append(_reading(op))

    def _add_query(self, place: int, query: object) -> None:
        if self.index is None:
            raise InvalidInputError(
                "query needs an index, which this store was created without. Search with "
                "filter=, or create the store with index=."
            )
        if not isinstance(query, str):
            raise InvalidInputError(f"query must be a string, not {type(query).__name__}.")
        self.queries[place] = query

    @property
    def to_embed(self) -> tuple[list[str], list[str]] | None:
        """The texts and the queries to embed; None if there are none."""
        texts = [text for texts in self.texts.values() for text in texts]
        return (texts, list(self.queries.values())) if texts or self.queries else None

    def set_vectors(self, vectors: Sequence[Vector]) -> None:
        """Set the embeddings of `to_embed`, in its order."""
        rest = iter(vectors)
        for name, texts in self.texts.items():
            new = cast("NewItem", self.changes[name])
            self.changes[name] = new._replace(vectors=pack([next(rest) for _ in texts]))
        for place in self.queries:
            search = cast("Search", self.readings[place])
            self.readings[place] = replace(search, query=next(rest))

    def results(self, found: Sequence[Any]) -> list[Result]:
        """Return the results of all operations in their order."""
        return [None if place is None else _result(found[place]) for place in self._places]


def batch_of(ops: Iterable[Op], index: TextIndex | None) -> Batch:
    """Check and convert operations, and embed their texts; see `Batch.add`."""
    batch = _checked_batch(ops, index)
    if index is not None and (wanted := batch.to_embed):
        batch.set_vectors(index.embed(*wanted))
    return batch


async def abatch_of(ops: Iterable[Op], index: TextIndex | None) -> Batch:
    """See `batch_of`."""
    batch = _checked_batch(ops, index)
    if index is not None and (wanted := batch.to_embed):
        batch.set_vectors(await index.aembed(*wanted))
    return batch


def _checked_batch(ops: Iterable[Op], index: TextIndex | None) -> Batch:
    batch = Batch(index)
    for op in ops:
        batch.add(op)
    return batch


def _check_labels(op: Op) -> None:
    if not isinstance(op, GetOp | PutOp | SearchOp | ListNamespacesOp):
        raise InvalidInputError(
            f"{type(op).__name__} is not an operation of a store. Use GetOp, SearchOp, PutOp or "
            "ListNamespacesOp."
        )
    for labels in _namespaces(op):
        if isinstance(labels, str) or not isinstance(labels, Sequence):
            raise InvalidNamespaceError(
                f"The namespace {labels!r} is not a tuple of labels. Write ({labels!r},)."
            )
    validate_op_namespace(op)
    for labels in _namespaces(op):
        for label in labels:
            check_name(label, "a namespace's label")
    if isinstance(op, PutOp) and op.value is not None:
        if not op.namespace:
            raise InvalidNamespaceError("The namespace of an item must have a label.")
        if op.namespace[0] == _RESERVED:
            raise InvalidNamespaceError(f"The first label of a namespace must not be {_RESERVED}.")


def _namespaces(op: Op) -> list[Any]:
    match op:
        case SearchOp():
            return [op.namespace_prefix]
        case ListNamespacesOp():
            return [condition.path for condition in op.match_conditions or ()]
        case _:
            return [op.namespace]


def _checked_key(key: object) -> str:
    check_name(key, "key")
    return str(key)


def _new_item(op: PutOp, namespace: str, key: str) -> NewItem | None:
    if op.value is None:
        return None
    if not isinstance(op.value, Mapping):
        kind = type(op.value).__name__
        raise InvalidJsonError(path="value", reason=f"must be a dict, not {kind}")
    value = dict(op.value)
    check_json_object(value, "value")
    if op.ttl is not None:
        check_number(op.ttl, "ttl, in minutes,", most=_MAX_TTL)
    return NewItem(namespace, key, value, None if op.ttl is None else op.ttl * 60.0)


def _reading(op: GetOp | SearchOp | ListNamespacesOp) -> Reading:
    match op:
        case GetOp():
            return Get(namespace_text(op.namespace), _checked_key(op.key), bool(op.refresh_ttl))
        case SearchOp():
            _check_page(op.limit, op.offset)
            prefix = namespace_text(op.namespace_prefix)
            refresh = bool(op.refresh_ttl)
            return Search(prefix, _conditions(op.filter), op.limit, op.offset, refresh)
        case ListNamespacesOp():
            _check_page(op.limit, op.offset)
            if op.max_depth is not None:
                check_count(op.max_depth, "max_depth", least=1)
            patterns = [_pattern(*condition) for condition in op.match_conditions or ()]
            return ListNamespaces(patterns, op.max_depth, op.limit, op.offset)


def _check_page(limit: object, offset: object) -> None:
    check_count(limit, "limit", least=0)
    check_count(offset, "offset", least=0)


def _pattern(match_type: str, path: Sequence[str]) -> NamespacePattern:
    if match_type not in {"prefix", "suffix"}:
        raise InvalidInputError(f"match_type must be 'prefix' or 'suffix', not {match_type!r}.")
    return NamespacePattern(path, match_type == "suffix")


def _conditions(filter_: dict[str, Any] | None) -> list[Condition]:
    check_json_object({} if filter_ is None else filter_, "filter")
    # As it is stored: a tuple as a list.
    given = json.loads(json.dumps(filter_ or {}))
    return [
        Condition(name, operator, operand)
        for name, wanted in given.items()
        for operator, operand in _operators(name, wanted)
    ]


def _operators(name: str, wanted: Any) -> list[tuple[str, Any]]:
    """Return the operators of a member of a filter with their operands.

    Raises:
        InvalidInputError: an operator is unknown, or cannot have its operand.
    """
    if not isinstance(wanted, dict) or not any(key.startswith("$") for key in wanted):
        return [("$eq", wanted)]
    for operator, operand in wanted.items():
        if operator not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise InvalidInputError(
                f"filter[{name!r}] has {operator!r}, which is no operator. Use {known}; to compare "
                'with an object that has such a key, write {"$eq": …}.'
            )
        if operator not in {"$eq", "$ne"} and not _is_ordered(operand):
            raise InvalidInputError(
                f"filter[{name!r}][{operator!r}] must be a number or text, not {operand!r}."
            )
    return list(wanted.items())


def _is_ordered(operand: object) -> bool:
    return isinstance(operand, int | float | str) and not isinstance(operand, bool)


def _result(found: Any) -> Result:
    match found:
        case StoredItem():
            return Item(**_fields(found))
        case [StoredItem(), *_]:
            return [SearchItem(**_fields(each), score=each.score) for each in found]
        case _:
            result: Result = found
            return result


def _fields(stored: StoredItem) -> dict[str, Any]:
    return {
        "namespace": labels_of(stored.namespace),
        "key": stored.item_key,
        "value": stored.value,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }
