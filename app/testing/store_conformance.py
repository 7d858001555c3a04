"""The rules of LangGraph's ``BaseStore``, each as a check of a store.

The rules are those of the documentation of ``langgraph.store.base``, and those that keep the
memories of one tenant from another. Every check works below a namespace of its own, so the store
may have other items.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import uuid4

from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)

Factory: TypeAlias = Callable[
    [], AbstractAsyncContextManager[BaseStore] | AbstractContextManager[BaseStore]
]
Namespace: TypeAlias = tuple[str, ...]

# Minutes, as in the interface, and seconds.
_TTL: Final = 0.01
_TTL_SECONDS: Final = _TTL * 60
_TRIES: Final = 20

_AWKWARD: Final = ("%", "_", "\\", "'", '"', "a%", "a_", "*", "[0]", "$", "a b", ";--", "\x01", "é")
"""Names that are special in SQL, in JSON paths or in patterns."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of the check of one rule."""

    rule: str
    """The name of the rule."""

    text: str
    """The rule."""

    error: Exception | None
    """Why the store does not keep the rule; None if it does."""


class _Subject:
    """A store under asynchronous names, and a namespace for one check."""

    def __init__(self, store: BaseStore, *, synchronous: bool) -> None:
        self.store = store
        self.synchronous = synchronous
        self.root = f"conformance-{uuid4().hex}"

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return a method of the store."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.synchronous:
                return getattr(self.store, name)(*args, **kwargs)
            return await getattr(self.store, f"a{name}")(*args, **kwargs)

        return call

    def at(self, *labels: str) -> Namespace:
        """Return a namespace below the root of the check."""
        return (self.root, *labels)

    async def keys(self, *labels: str, **options: Any) -> list[str]:
        """Return the keys that a search finds, in its order."""
        return [item.key for item in await self.search(self.at(*labels), **options)]

    async def filtered(self, **filter_: Any) -> set[str]:
        """Return the keys of the items that a filter finds."""
        return set(await self.keys(filter=filter_, limit=100))

    async def values(self, values: dict[str, Any]) -> None:
        """Store items with one member ``x``, by key."""
        for key, value in values.items():
            await self.put(self.at(), key, {"x": value})

    async def namespaces(self, **options: Any) -> list[Namespace]:
        """Return the namespaces below the root, without the root."""
        prefix = self.at(*options.pop("prefix", ()))
        found = await self.list_namespaces(prefix=prefix, **options)
        return [namespace[1:] for namespace in found]

    async def at_once(self, calls: Sequence[tuple[Any, ...]]) -> None:
        """Call ``put`` with each of the arguments, all at once."""
        if self.synchronous:
            work = [asyncio.to_thread(self.store.put, *arguments) for arguments in calls]
        else:
            work = [self.store.aput(*arguments) for arguments in calls]
        await asyncio.gather(*work)


Check: TypeAlias = Callable[[_Subject], Awaitable[None]]

STORE_RULES: Final[dict[str, str]] = {}
"""The rules that `store_conformance` checks, by name."""

_CHECKS: Final[dict[str, Check]] = {}

# They wait for an expiry: together, so that a run takes a second less for each.
_SLEEPING: Final = ("expiry", "refresh", "permanent")


def _rule(text: str) -> Callable[[Check], Check]:
    """Return a decorator for the check of a rule."""

    def decorate(check: Check) -> Check:
        name = check.__name__.removeprefix("_")
        STORE_RULES[name], _CHECKS[name] = text, check
        return check

    return decorate


async def store_conformance(factory: Factory, *, synchronous: bool = False) -> list[RuleResult]:
    """Check a store against every rule.

    Args:
        factory: returns a context manager, asynchronous or not, of an open store.
        synchronous: whether to call the synchronous methods of the store.

    Returns:
        The result of each rule, in the order of `STORE_RULES`.
    """
    async with AsyncExitStack() as stack:
        opened = factory()
        if isinstance(opened, AbstractAsyncContextManager):
            store = await stack.enter_async_context(opened)
        else:
            store = stack.enter_context(opened)
        errors = {}
        for name in STORE_RULES.keys() - _SLEEPING:
            errors[name] = await _error(name, _Subject(store, synchronous=synchronous))
        waiting = [_error(name, _Subject(store, synchronous=synchronous)) for name in _SLEEPING]
        errors |= zip(_SLEEPING, await asyncio.gather(*waiting), strict=True)
    return [RuleResult(name, text, errors[name]) for name, text in STORE_RULES.items()]


async def _error(name: str, subject: _Subject) -> Exception | None:
    """Return the error of a check; None if the rule is kept."""
    try:
        await _CHECKS[name](subject)
    except Exception as error:  # noqa: BLE001 - whatever it is, the rule is not kept
        return error
    return None


def _same(found: object, wanted: object = True) -> None:  # noqa: FBT002 - any value
    if found != wanted:
        raise AssertionError(f"found {found!r}, not {wanted!r}")


async def _refused(work: Awaitable[object]) -> None:
    """Raise AssertionError unless the work raises an error of the argument."""
    try:
        await work
    except (ValueError, TypeError):
        return
    raise AssertionError("it was not refused")


# --- Items ---------------------------------------------------------------------------


@_rule("An item is returned with its namespace, key and value; a missing one is None.")
async def _get(subject: _Subject) -> None:
    _same(await subject.get(subject.at("a"), "k"), None)
    await subject.put(subject.at("a"), "k", {"x": 1})
    item = await subject.get(subject.at("a"), "k")
    _same((item.namespace, item.key, item.value), (subject.at("a"), "k", {"x": 1}))
    _same(await subject.get(subject.at("a"), "other"), None)
    _same(await subject.get(subject.at(), "k"), None)


@_rule("A value comes back as it was stored, whatever JSON it is.")
async def _values(subject: _Subject) -> None:
    value: dict[str, Any] = {
        "nothing": None,
        "flags": [True, False],
        "numbers": [0, -1, 2**53 + 1, 2**63 - 1, 0.1, 1e300, 5e-324],
        "texts": ["", "é", "e\u0301", "\U0001f600", "'\"\\%_", "\n\t"],
        "empty": [{}, []],
        "deep": {"a": {"b": {"c": [1, [2, [3]]]}}},
        "": "no name",
    }
    await subject.put(subject.at(), "k", value)
    item = await subject.get(subject.at(), "k")
    _same(item.value, value)
    _same([type(number) for number in item.value["numbers"]], [int] * 4 + [float] * 3)


@_rule("A value that the application changes before or after is not changed in the store.")
async def _copies(subject: _Subject) -> None:
    value: dict[str, Any] = {"list": [1]}
    await subject.put(subject.at(), "k", value)
    value["list"].append(2)
    (await subject.get(subject.at(), "k")).value["list"].append(3)
    _same((await subject.get(subject.at(), "k")).value, {"list": [1]})


@_rule("A put replaces the whole value.")
async def _overwrite(subject: _Subject) -> None:
    await subject.put(subject.at(), "k", {"a": 1, "b": 1})
    await subject.put(subject.at(), "k", {"a": 2})
    _same((await subject.get(subject.at(), "k")).value, {"a": 2})
    _same(await subject.keys(), ["k"])


@_rule("An overwrite keeps created_at and advances updated_at; both have a time zone.")
async def _times(subject: _Subject) -> None:
    await subject.put(subject.at(), "k", {"x": 1})
    first = await subject.get(subject.at(), "k")
    _same(first.created_at.utcoffset(), timedelta(0))
    await asyncio.sleep(0.01)
    await subject.put(subject.at(), "k", {"x": 2})
    second = await subject.get(subject.at(), "k")
    _same(second.created_at, first.created_at)
    _same(second.updated_at > first.updated_at)


@_rule("A deleted item is gone; deleting a missing one is no error; a later put creates it anew.")
async def _delete(subject: _Subject) -> None:
    await subject.put(subject.at("a"), "k", {"x": 1})
    first = await subject.get(subject.at("a"), "k")
    await subject.delete(subject.at("a"), "k")
    await subject.delete(subject.at("a"), "k")
    _same(await subject.get(subject.at("a"), "k"), None)
    _same(await subject.keys(), [])
    _same(await subject.namespaces(), [])
    await asyncio.sleep(0.01)
    await subject.put(subject.at("a"), "k", {"x": 2})
    _same((await subject.get(subject.at("a"), "k")).created_at > first.created_at)


@_rule("A value that is not JSON is refused, and nothing is written.")
async def _not_json(subject: _Subject) -> None:
    values: tuple[Any, ...] = ({"x": object()}, {"x": math.nan}, {1: 2}, [1], "text")
    for value in values:
        await _refused(subject.put(subject.at(), "k", value))
    _same(await subject.get(subject.at(), "k"), None)


@_rule("Of many concurrent puts of one key one remains, as a whole.")
async def _concurrent(subject: _Subject) -> None:
    await subject.at_once([(subject.at(), "k", {"a": n, "b": n}) for n in range(20)])
    (item,) = await subject.search(subject.at())
    _same(item.value["a"] == item.value["b"])


# --- Batches -------------------------------------------------------------------------


@_rule("The results of a batch are in the order of its operations.")
async def _batch_order(subject: _Subject) -> None:
    await subject.values({"a": 1, "b": 2})
    ops: list[Op] = [
        GetOp(subject.at(), "b"),
        PutOp(subject.at(), "c", {"x": 3}),
        ListNamespacesOp((MatchCondition("prefix", subject.at()),)),
        GetOp(subject.at(), "none"),
        SearchOp(subject.at(), {"x": 1}),
        GetOp(subject.at(), "a"),
    ]
    found = await subject.batch(ops)
    _same(len(found), len(ops))
    _same((found[0].key, found[1], found[2], found[3]), ("b", None, [subject.at()], None))
    _same(([item.key for item in found[4]], found[5].key), (["a"], "a"))


@_rule("A batch reads items as they were before the batch wrote.")
async def _batch_snapshot(subject: _Subject) -> None:
    await subject.values({"a": 1})
    ops: list[Op] = [
        PutOp(subject.at(), "a", {"x": 2}),
        GetOp(subject.at(), "a"),
        PutOp(subject.at(), "b", {"x": 2}),
        SearchOp(subject.at()),
    ]
    found = await subject.batch(ops)
    _same((found[1].value, [item.key for item in found[3]]), ({"x": 1}, ["a"]))
    _same((await subject.get(subject.at(), "a")).value, {"x": 2})


@_rule("Of several writes of one key in a batch the last counts.")
async def _batch_last(subject: _Subject) -> None:
    await subject.values({"c": 1})
    ops: list[Op] = []
    writes: dict[str, list[int | None]] = {"a": [1, 2, 3], "b": [1, None], "c": [None, 4]}
    for key, values in writes.items():
        ops += [PutOp(subject.at(), key, None if v is None else {"x": v}) for v in values]
    await subject.batch(ops)
    found = {item.key: item.value["x"] for item in await subject.search(subject.at())}
    _same(found, {"a": 3, "c": 4})


@_rule("A batch with an operation that is refused writes nothing.")
async def _batch_whole(subject: _Subject) -> None:
    ops: list[Op] = [
        PutOp(subject.at(), "a", {"x": 1}),
        PutOp(subject.at("b.c"), "k", {"x": 1}),
    ]
    await _refused(subject.batch(ops))
    _same(await subject.keys(), [])


@_rule("Namespaces with a label that is empty, no text or has a full stop are refused.")
async def _labels(subject: _Subject) -> None:
    labels: tuple[Any, ...] = ("a.b", "", 1, None, "a\0b")
    for label in labels:
        await _refused(subject.put(subject.at(label), "k", {}))
        await _refused(subject.get(subject.at(label), "k"))
        await _refused(subject.search(subject.at(label)))
    await _refused(subject.put((), "k", {}))
    await _refused(subject.put(("langgraph",), "k", {}))


@_rule("So are those of operations that are handed to batch() directly.")
async def _labels_in_batch(subject: _Subject) -> None:
    for label in ("a.b", ""):
        namespace = subject.at(label)
        ops: tuple[Op, ...] = (
            GetOp(namespace, "k"),
            PutOp(namespace, "k", {}),
            SearchOp(namespace),
            ListNamespacesOp((MatchCondition("prefix", namespace),)),
        )
        for op in ops:
            await _refused(subject.batch([op]))


# --- Names ---------------------------------------------------------------------------


@_rule("A search finds whole labels: tenant acme does not see acme-corp, acme2 or ACME.")
async def _tenants(subject: _Subject) -> None:
    tenants = ("acme", "acme-corp", "acme2", "ACME", "acme ", "acmé", "acme\x01", "acme/", "acm")
    for tenant in tenants:
        await subject.put(subject.at(tenant), "k", {"tenant": tenant})
        await subject.put(subject.at(tenant, "users"), "k", {"tenant": tenant})
    for tenant in tenants:
        found = await subject.search(subject.at(tenant))
        _same([item.value["tenant"] for item in found], [tenant] * 2)
        listed = await subject.namespaces(prefix=(tenant,))
        _same(sorted(listed), [(tenant,), (tenant, "users")])


@_rule("Labels and keys are compared byte by byte.")
async def _bytes(subject: _Subject) -> None:
    names = ("a", "A", "a ", " a", "ä", "a\u0308", "\u00e4 ", "ß", "ss", "\U0001f600", "\uff41")
    for name in names:
        await subject.put(subject.at(), name, {"name": name})
        await subject.put(subject.at(name), "k", {"name": name})
    for name in names:
        _same((await subject.get(subject.at(), name)).value, {"name": name})
        _same((await subject.get(subject.at(name), "k")).value, {"name": name})
        _same(await subject.keys(name), ["k"])


@_rule("Characters that are special in SQL are data in labels and keys.")
async def _awkward_names(subject: _Subject) -> None:
    for name in _AWKWARD:
        await subject.put(subject.at(name), name, {"name": name})
    for name in _AWKWARD:
        _same(await subject.keys(name), [name])
        _same((await subject.get(subject.at(name), name)).value, {"name": name})


@_rule("A key with full stops is not taken for labels.")
async def _dots(subject: _Subject) -> None:
    await subject.put(subject.at("a"), "b.c", {"x": 1})
    await subject.put(subject.at("a", "b"), "c", {"x": 2})
    await subject.put(subject.at("a", "b", "c"), "", {"x": 3})
    _same((await subject.get(subject.at("a"), "b.c")).value, {"x": 1})
    _same((await subject.get(subject.at("a", "b"), "c")).value, {"x": 2})
    _same((await subject.get(subject.at("a", "b", "c"), "")).value, {"x": 3})


@_rule("Labels and keys may be long.")
async def _long_names(subject: _Subject) -> None:
    labels = ("x" * 3_000, "é" * 300 + "1", "é" * 300 + "2", "y" * 500)
    for label in labels:
        await subject.put(subject.at(label, "users"), "k" * 5_000, {"label": label})
    for label in labels:
        (item,) = await subject.search(subject.at(label))
        _same(item.value, {"label": label})
        _same(await subject.namespaces(prefix=(label,)), [(label, "users")])
        _same((await subject.get(subject.at(label, "users"), "k" * 5_000)).value["label"], label)


# --- Filters -------------------------------------------------------------------------


@_rule("A filter finds equal values; 1, true and the text 1 are three.")
async def _equality(subject: _Subject) -> None:
    await subject.values({"int": 1, "float": 1.0, "true": True, "text": "1", "A": "a", "B": "A"})
    _same(await subject.filtered(x=1), {"int", "float"})
    _same(await subject.filtered(x=True), {"true"})
    _same(await subject.filtered(x="1"), {"text"})
    _same(await subject.filtered(x="a"), {"A"})
    _same(await subject.filtered(x={"$eq": "A"}), {"B"})


@_rule("Nested values are compared as a whole.")
async def _nested(subject: _Subject) -> None:
    await subject.values(
        {
            "object": {"a": 1, "b": [1, 2]},
            "more": {"a": 1, "b": [1, 2], "c": 3},
            "list": [1, 2],
            "turned": [2, 1],
            "empty": {},
        }
    )
    _same(await subject.filtered(x={"b": [1, 2], "a": 1}), {"object"})
    _same(await subject.filtered(x=[1, 2]), {"list"})
    _same(await subject.filtered(x={}), {"empty"})
    _same(await subject.filtered(x={"$eq": {"a": 1, "b": [1, 2], "c": 3}}), {"more"})


@_rule("A missing key is not null.")
async def _missing(subject: _Subject) -> None:
    await subject.values({"null": None, "zero": 0})
    await subject.put(subject.at(), "missing", {"y": 1})
    _same(await subject.filtered(x=None), {"null"})
    _same(await subject.filtered(x={"$eq": None}), {"null"})


@_rule("$ne finds whatever $eq does not find, items without the key too.")
async def _not_equal(subject: _Subject) -> None:
    await subject.values({"null": None, "one": 1, "two": 2, "text": "1"})
    await subject.put(subject.at(), "missing", {"y": 1})
    _same(await subject.filtered(x={"$ne": 1}), {"null", "two", "text", "missing"})
    _same(await subject.filtered(x={"$ne": None}), {"one", "two", "text", "missing"})


@_rule("Numbers are compared as numbers, and with nothing else.")
async def _comparison(subject: _Subject) -> None:
    await subject.values({"9": 9, "10": 10, "-1": -1, "9.5": 9.5, "text": "9", "true": True})
    await subject.put(subject.at(), "missing", {"y": 1})
    _same(await subject.filtered(x={"$gt": 9}), {"10", "9.5"})
    _same(await subject.filtered(x={"$gte": 9}), {"9", "10", "9.5"})
    _same(await subject.filtered(x={"$lt": 9.5}), {"9", "-1"})
    _same(await subject.filtered(x={"$lte": 9.5}), {"9", "-1", "9.5"})


@_rule("Numbers beyond 2^53 are compared exactly.")
async def _large_numbers(subject: _Subject) -> None:
    large = 2**53
    await subject.values({str(n): large + n for n in range(4)})
    _same(await subject.filtered(x=large + 1), {"1"})
    _same(await subject.filtered(x={"$gt": large + 1}), {"2", "3"})
    _same(await subject.filtered(x={"$lte": large}), {"0"})
    _same(await subject.filtered(x={"$ne": large + 1}), {"0", "2", "3"})


@_rule("Text is compared by code points.")
async def _text_order(subject: _Subject) -> None:
    await subject.values({"a": "2026-01-09", "b": "2026-01-10", "c": "2025", "B": "Z", "d": 1})
    _same(await subject.filtered(x={"$gte": "2026-01-10"}), {"b", "B"})


@_rule("Several conditions must all be true.")
async def _conjunction(subject: _Subject) -> None:
    for number in range(5):
        await subject.put(subject.at(), str(number), {"x": number, "even": number % 2 == 0})
    _same(await subject.filtered(x={"$gte": 1, "$lt": 4}, even=True), {"2"})


@_rule("Characters that are special in SQL or in JSON paths are data in filters.")
async def _awkward_filters(subject: _Subject) -> None:
    for name in (*_AWKWARD, "a.b", "", "x"):
        await subject.put(subject.at(), name, {name: f"{name}!"})
    await subject.put(subject.at(), "nested", {"a": {"b": "a.b!"}})
    for name in (*_AWKWARD, "a.b", "", "x"):
        if not name.startswith("$"):
            _same(await subject.filtered(**{name: f"{name}!"}), {name})


@_rule("An unknown operator is refused.")
async def _unknown_operator(subject: _Subject) -> None:
    await subject.values({"a": 1})
    await _refused(subject.search(subject.at(), filter={"x": {"$regex": "."}}))


# --- Order and pages -----------------------------------------------------------------


@_rule("Items are found in the order of their last update, the latest first.")
async def _order(subject: _Subject) -> None:
    for key in ("a", "b", "c", "b"):
        await subject.put(subject.at(), key, {"x": 1})
        await asyncio.sleep(0.002)
    _same(await subject.keys(), ["b", "c", "a"])


@_rule("Pages of a search have each item once.")
async def _pages(subject: _Subject) -> None:
    names = [f"{number:02}" for number in range(23)]
    ops: list[Op] = [PutOp(subject.at(key[0]), key, {"x": 1, "n": int(key)}) for key in names]
    await subject.batch(ops)
    for filter_ in (None, {"x": 1}, {"n": {"$gte": 0}}):
        found: list[str] = []
        for offset in range(0, 30, 5):
            found += await subject.keys(filter=filter_, limit=5, offset=offset)
        _same(sorted(found), names)
    _same(len(await subject.keys()), 10)
    _same(await subject.keys(limit=5, offset=100), [])


@_rule("Namespaces are listed by prefix and suffix, of whole labels.")
async def _list(subject: _Subject) -> None:
    for labels in (("a", "x"), ("a", "y"), ("ab", "x"), ("b", "a", "x"), ("b", "a", "xx")):
        await subject.put(subject.at(*labels), "k", {})
        await subject.put(subject.at(*labels), "l", {})
    _same(sorted(await subject.namespaces(prefix=("a",))), [("a", "x"), ("a", "y")])
    _same(
        sorted(await subject.namespaces(suffix=("x",))), [("a", "x"), ("ab", "x"), ("b", "a", "x")]
    )
    _same(sorted(await subject.namespaces(suffix=("a", "x"))), [("a", "x"), ("b", "a", "x")])
    _same(await subject.namespaces(prefix=("b",), suffix=("xx",)), [("b", "a", "xx")])


@_rule("A * in a prefix or suffix stands for one label.")
async def _wildcards(subject: _Subject) -> None:
    for labels in (("a", "1", "x"), ("a", "2", "y"), ("a", "x"), ("b", "1", "x"), ("b", "1")):
        await subject.put(subject.at(*labels), "k", {})
    _same(
        sorted(await subject.namespaces(prefix=("*", "1"))),
        [("a", "1", "x"), ("b", "1"), ("b", "1", "x")],
    )
    _same(await subject.namespaces(prefix=("a", "*", "x")), [("a", "1", "x")])
    _same(sorted(await subject.namespaces(suffix=("1", "*"))), [("a", "1", "x"), ("b", "1", "x")])


@_rule("max_depth shortens namespaces, then each is listed once, then pages are counted.")
async def _max_depth(subject: _Subject) -> None:
    for first in "abcde":
        for second in "12345":
            await subject.put(subject.at(first, second), "k", {})
    await subject.put(subject.at(), "k", {})
    found: list[Namespace] = []
    for offset in (0, 2, 4, 6):
        found += await subject.namespaces(max_depth=2, limit=2, offset=offset)
    _same(sorted(found), [(), *((first,) for first in "abcde")])


@_rule("Pages of namespaces have each once.")
async def _namespace_pages(subject: _Subject) -> None:
    labels = [f"{number:02}" for number in range(13)]
    await subject.batch([PutOp(subject.at(label), "k", {}) for label in labels])
    found: list[Namespace] = []
    for offset in range(0, 20, 4):
        found += await subject.namespaces(limit=4, offset=offset)
    _same(sorted(found), [(label,) for label in labels])


# --- Expiry --------------------------------------------------------------------------


@_rule("An expired item is not found, before it is swept too.")
async def _expiry(subject: _Subject) -> None:
    await subject.put(subject.at("a"), "k", {"x": 1}, ttl=_TTL)
    await subject.put(subject.at("b"), "k", {"x": 1}, ttl=None)
    await asyncio.sleep(1.5 * _TTL_SECONDS)
    _same(await subject.get(subject.at("a"), "k"), None)
    _same([item.namespace for item in await subject.search(subject.at())], [subject.at("b")])
    _same(await subject.namespaces(), [("b",)])


@_rule("Reading an item postpones its expiry, unless refresh_ttl is False.")
async def _refresh(subject: _Subject) -> None:
    for number in range(_TRIES):
        kept, searched, left = (subject.at(f"{name}{number}") for name in "abc")
        began = time.monotonic()
        for namespace in (kept, searched, left):
            await subject.put(namespace, "k", {"x": 1}, ttl=_TTL)
        await asyncio.sleep(0.6 * _TTL_SECONDS)
        read = time.monotonic()
        await subject.get(kept, "k", refresh_ttl=True)
        await subject.search(searched, refresh_ttl=True)
        await subject.get(left, "k", refresh_ttl=False)
        in_time = time.monotonic() - began < _TTL_SECONDS
        await asyncio.sleep(0.6 * _TTL_SECONDS)
        options = {"refresh_ttl": False}
        found = [await subject.get(each, "k", **options) for each in (kept, searched, left)]
        # On a busy machine the reads may have come too late.
        if in_time and time.monotonic() - read < _TTL_SECONDS:
            _same([item is not None for item in found], [True, True, False])
            return
    raise AssertionError("The store is too slow to see whether reading postpones the expiry.")


@_rule("A put without a time to live makes an item permanent.")
async def _permanent(subject: _Subject) -> None:
    await subject.put(subject.at(), "k", {"x": 1}, ttl=_TTL)
    await subject.put(subject.at(), "k", {"x": 2}, ttl=None)
    await asyncio.sleep(1.5 * _TTL_SECONDS)
    _same((await subject.get(subject.at(), "k")).value, {"x": 2})
