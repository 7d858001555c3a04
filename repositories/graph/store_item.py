"""Items of the memory store: storing, reading, searching and deleting them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from threadlog.models.dialects.json import json_member_equals
from threadlog.models.dialects.labels import (
    first_labels,
    label_count,
    nth_label,
)
from threadlog.models.dialects.time import now_parameter, utc_now
from threadlog.models.dialects.types import as_bytes
from threadlog.models.dialects.upsert import insert_or_update
from threadlog.models.store_item import NAMESPACE_START
from threadlog.models.tables import ITEMS
from threadlog.repositories.base import Repository, Statement, rowcount
from threadlog.repositories.graph.digests import DIGITS

_ITEM: Final = (
    ITEMS.c.item_digest,
    ITEMS.c.namespace,
    ITEMS.c.item_key,
    ITEMS.c.value,
    ITEMS.c.created_at,
    ITEMS.c.updated_at,
    ITEMS.c.ttl_seconds,
)

SEPARATOR: Final = "."
"""Follows each label of a stored namespace. LangGraph allows it in no label."""

WILDCARD: Final = "*"
"""Stands for any label in a `NamespacePattern`."""

# The character after the separator.
_BEYOND: Final = "/"


class NewItem(NamedTuple):
    """An item ready to be stored."""

    namespace: str
    item_key: str
    value: Mapping[str, Any]
    ttl_seconds: float | None
    """Seconds after which the item expires; None for never."""

    vectors: bytes | None = None
    """Embeddings of the value; see `StoreItem.vectors`."""


class StoredItem(NamedTuple):
    """A stored item that has not expired."""

    item_digest: str
    namespace: str
    item_key: str
    value: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    ttl_seconds: float | None
    vectors: bytes | None = None
    """Embeddings of the value, if the query asked for them."""

    score: float | None = None
    """How near the value is to the text that was searched for."""


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """Conditions on items."""

    prefix: str
    """The labels that a namespace begins with, each with its separator."""

    equal: Mapping[str, Any] = field(default_factory=dict)
    """Members that a value must have, with these values."""

    indexed: bool = False
    """True to find only items that have embeddings, with these."""


class NamespacePattern(NamedTuple):
    """Labels that a namespace begins or ends with; ``*`` stands for any label."""

    labels: Sequence[str]
    at_end: bool

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on namespaces that have the labels."""
        name, count = ITEMS.c.namespace, label_count(ITEMS.c.namespace)
        labels = list(self.labels)
        first = labels.index(WILDCARD) if WILDCARD in labels else len(labels)
        if self.at_end:
            first = 0
        conditions = _begins_with(namespace_text(labels[:first]))
        if first == len(labels):
            return conditions
        conditions.append(count >= len(labels))
        for place, label in enumerate(labels[first:], first + 1):
            if label != WILDCARD:
                found = nth_label(name, count - len(labels) + place if self.at_end else place)
                conditions.append(as_bytes(found) == as_bytes(literal(label, name.type)))
        return conditions


def namespace_text(labels: Sequence[str]) -> str:
    """Return a namespace as it is stored: each label with the separator after it."""
    return "".join(f"{label}{SEPARATOR}" for label in labels)


def labels_of(namespace: str) -> tuple[str, ...]:
    """Return the labels of a stored namespace."""
    return tuple(namespace.split(SEPARATOR)[:-1])


def item_digest(namespace: str, key: str) -> str:
    """Return the primary key of an item.

    The number of labels is hashed too, as a key may contain separators.
    """
    text = f"{namespace.count(SEPARATOR)}{SEPARATOR}{namespace}{key}"
    return sha256(text.encode()).hexdigest()[:DIGITS]


def _now(dialect: str) -> ColumnElement[datetime]:
    """Return the database's time, for statements that get the parameter ``now``."""
    return utc_now(dialect, seconds_ago=bindparam("now"))


def _is_live(dialect: str) -> ColumnElement[bool]:
    expires_at = ITEMS.c.expires_at
    return or_(expires_at.is_(None), expires_at > _now(dialect))


@cache
def _put(dialect: str) -> Statement:
    """Return the upsert of an item; only an item that has not expired keeps `created_at`."""
    names = (
        *("item_digest", "namespace_start", "namespace", "item_key"),
        *("value", "ttl_seconds", "vectors"),
    )
    row: dict[str, Any] = {name: bindparam(name, type_=ITEMS.c[name].type) for name in names}
    row["created_at"] = row["updated_at"] = _now(dialect)
    row["expires_at"] = utc_now(dialect, seconds_ago=bindparam("since_expiry"))
    return Statement(
        insert_or_update(
            ITEMS,
            dialect,
            row,
            lambda new: {
                "created_at": case(
                    (ITEMS.c.expires_at <= new["updated_at"], new["created_at"]),
                    else_=ITEMS.c.created_at,
                ),
                **{
                    name: new[name]
                    for name in ("value", "updated_at", "expires_at", "ttl_seconds", "vectors")
                },
            },
        )
    )


@cache
def _get(dialect: str) -> Statement:
    digest = bindparam("item_digest", type_=ITEMS.c.item_digest.type)
    return Statement(select(*_ITEM).where(ITEMS.c.item_digest == digest, _is_live(dialect)))


def _selected(dialect: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Return a page of items in the order of `StoreItemRepository.search`."""
    return (
        select(*_ITEM)
        .where(*conditions, _is_live(dialect))
        .order_by(ITEMS.c.updated_at.desc(), as_bytes(ITEMS.c.item_key), ITEMS.c.item_digest)
        .limit(bindparam("limit"))
        .offset(bindparam("offset"))
    )


@cache
def _search(dialect: str, *, ranged: bool) -> Statement:
    start = ITEMS.c.namespace_start
    first, beyond = (bindparam(name, type_=start.type) for name in ("first", "beyond"))
    return Statement(_selected(dialect, *((start >= first, start < beyond) if ranged else ())))


@cache
def _refresh(dialect: str) -> Statement:
    """Return the UPDATE that postpones the expiry of an item."""
    digest = bindparam("digest", type_=ITEMS.c.item_digest.type)
    expires_at = utc_now(dialect, seconds_ago=bindparam("since_expiry"))
    return Statement(
        update(ITEMS)
        .where(ITEMS.c.item_digest == digest, _is_live(dialect))
        .values(expires_at=expires_at)
    )


_DELETE: Final = Statement(
    delete(ITEMS).where(ITEMS.c.item_digest == bindparam("digest", type_=ITEMS.c.item_digest.type))
)


class StoreItemRepository(Repository):
    """Statements on items of the memory store, bound to one session."""

    def put(self, items: Sequence[NewItem]) -> None:
        """Insert items, or overwrite those of the same namespace and key."""
        rows = [
            {
                **new._asdict(),
                "item_digest": item_digest(new.namespace, new.item_key),
                "namespace_start": new.namespace.encode()[:NAMESPACE_START],
                "now": now_parameter(self.uow.dialect),
                "since_expiry": None if new.ttl_seconds is None else -new.ttl_seconds,
            }
            for new in items
        ]
        self.uow.run(_put(self.uow.dialect), rows)

    def get(self, namespace: str, key: str) -> StoredItem | None:
        """Return an item, in one statement; None if not found."""
        parameters = {"item_digest": item_digest(namespace, key), "now": 0.0}
        row = self.uow.run(_get(self.uow.dialect), parameters).first()
        return None if row is None else StoredItem(*row)

    def refresh(self, items: Sequence[StoredItem]) -> None:
        """Postpone the expiry of items to their time to live from now on."""
        rows = [
            {"digest": item.item_digest, "now": 0.0, "since_expiry": -item.ttl_seconds}
            for item in items
            if item.ttl_seconds is not None
        ]
        self.uow.run(_refresh(self.uow.dialect), rows)

    def delete(self, names: Sequence[tuple[str, str]]) -> None:
        """Delete items by namespace and key."""
        self.uow.run(_DELETE, [{"digest": item_digest(*name)} for name in names])

    def delete_below(self, prefix: str) -> int:
        """Delete the items of a namespace and of all below it, and return their number."""
        return rowcount(self.uow.execute(delete(ITEMS).where(*_begins_with(prefix))))

    def count_below(self, prefix: str) -> int:
        """Return the number of items of a namespace and of all below it, expired ones too."""
        found = select(func.count()).select_from(ITEMS).where(*_begins_with(prefix))
        return int(self.uow.execute(found).scalar() or 0)

    def search(
        self, query: ItemQuery, limit: int, *, offset: int = 0, after: StoredItem | None = None
    ) -> list[StoredItem]:
        """Return items in the order of search, in one statement.

        Last updated first, items of the same time in the order of their keys.

        Args:
            query: the conditions.
            limit: the most items to return.
            offset: how many items to skip.
            after: the last item of the page before.
        """
        dialect = self.uow.dialect
        page = {"now": 0.0, "limit": limit, "offset": offset}
        first = query.prefix.encode()
        is_plain = not query.equal and not query.indexed and after is None
        if is_plain and len(first) <= NAMESPACE_START:
            given = {**page, "first": first, "beyond": _beyond(query.prefix)} if first else page
            rows = self.uow.run(_search(dialect, ranged=bool(first)), given)
            return [StoredItem(*row) for row in rows]
        conditions = _begins_with(query.prefix)
        for name, value in query.equal.items():
            conditions.append(json_member_equals(ITEMS.c.value, name, value, dialect))
        if after is not None:
            conditions.append(_follows(after))
        selected = _selected(dialect, *conditions)
        if query.indexed:
            selected = selected.add_columns(ITEMS.c.vectors).where(ITEMS.c.vectors.is_not(None))
        found = self.uow.execute(selected, page)
        return [StoredItem(*row) for row in found]

    def namespaces(
        self, patterns: Sequence[NamespacePattern], max_depth: int | None, limit: int, offset: int
    ) -> list[str]:
        """Return namespaces in the order of their bytes, in one statement.

        They are shortened, then each is found once, then counted.

        Args:
            patterns: all of them must match.
            max_depth: the most labels of a namespace that is returned; None for all.
            limit: the most namespaces to return.
            offset: how many namespaces to skip.
        """
        name = first_labels(ITEMS.c.namespace, max_depth).label("name")
        # The same order, and that of the index.
        order = [ITEMS.c.namespace_start, name] if max_depth is None else [name]
        conditions = [condition for pattern in patterns for condition in pattern.conditions()]
        found: Select[Any] = (
            select(*order)
            .distinct()
            .where(*conditions, _is_live(self.uow.dialect))
            .order_by(*order)
            .limit(limit)
            .offset(offset)
        )
        names = (row.name for row in self.uow.execute(found, {"now": 0.0}))
        return [name.decode() if isinstance(name, bytes) else name for name in names]

    def keys(
        self, prefix: str, *, after: tuple[bytes, str] | None, limit: int
    ) -> list[tuple[bytes, str]]:
        """Return a page of items below a namespace: `namespace_start` and primary key, in order.

        In the order of the index of namespaces: in that of the primary key MySQL would rather read
        the whole table than sort.

        Args:
            prefix: the labels that the namespace begins with, each with its separator.
            after: the last item of the previous page; None for the first page.
            limit: the most items.
        """
        start, digest = ITEMS.c.namespace_start, ITEMS.c.item_digest
        found = select(start, digest).where(*_begins_with(prefix)).order_by(start, digest)
        if after is not None:
            is_later = or_(start > after[0], and_(start == after[0], digest > after[1]))
            found = found.where(start >= after[0], is_later)
        return [(bytes(row[0]), row[1]) for row in self.uow.execute(found.limit(limit))]

    def expired(self, limit: int) -> list[str]:
        """Return the digests of expired items."""
        found = select(ITEMS.c.item_digest).where(self._has_expired()).limit(limit)
        return list(self.uow.execute(found, {"now": 0.0}).scalars())

    def count_expired(self) -> int:
        """Return the number of expired items."""
        found = select(func.count()).select_from(ITEMS).where(self._has_expired())
        return int(self.uow.execute(found, {"now": 0.0}).scalar() or 0)

    def delete_expired(self, digests: Sequence[str]) -> int:
        """Delete those of the items that are still expired, and return their number."""
        statement = delete(ITEMS).where(ITEMS.c.item_digest.in_(digests), self._has_expired())
        return rowcount(self.uow.execute(statement, {"now": 0.0}))

    def _has_expired(self) -> ColumnElement[bool]:
        return ITEMS.c.expires_at <= _now(self.uow.dialect)


def _beyond(prefix: str) -> bytes:
    """Return the first text that is greater than all that begin with these labels."""
    return f"{prefix[:-1]}{_BEYOND}".encode()


def _begins_with(prefix: str) -> list[ColumnElement[bool]]:
    """Return the conditions on namespaces that begin with whole labels: a range of the index."""
    if not prefix:
        return []
    start = ITEMS.c.namespace_start
    first, beyond = prefix.encode(), _beyond(prefix)
    if len(first) <= NAMESPACE_START:
        return [start >= first, start < beyond]
    name, text = as_bytes(ITEMS.c.namespace), ITEMS.c.namespace.type
    return [
        start == first[:NAMESPACE_START],
        name >= as_bytes(literal(prefix, text)),
        name < as_bytes(literal(beyond.decode(), text)),
    ]


def _follows(item: StoredItem) -> ColumnElement[bool]:
    """Return the condition on items that a search returns after this one."""
    updated_at, key = ITEMS.c.updated_at, as_bytes(ITEMS.c.item_key)
    given = as_bytes(literal(item.item_key, ITEMS.c.item_key.type))
    later = or_(key > given, and_(key == given, ITEMS.c.item_digest > item.item_digest))
    return or_(updated_at < item.updated_at, and_(updated_at == item.updated_at, later))
