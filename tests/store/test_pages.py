"""Searches and lists that read several pages of rows."""

from random import Random
from typing import Final

import pytest
from langgraph.store.base import PutOp

from tests.store.ways import Way
from tests.support.databases import execute
from tests.support.seeds import FRESH
from threadlog.graph import memories


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few rows at a time."""
    monkeypatch.setattr(memories, "_PAGE", 5)


async def test_items_of_the_same_time_and_key_are_found_once(way: Way, store_url: str) -> None:
    """Where a page ends between them, too."""
    names = [f"{number:02}" for number in range(23)]
    await way.call("batch", [PutOp((name,), "k", {"n": int(name)}) for name in names])
    await execute(
        store_url,
        "UPDATE threadlog_store SET updated_at = (SELECT t FROM (SELECT MAX(updated_at) AS t "
        "FROM threadlog_store) AS latest)",
    )
    found = await way.call("search", (), filter={"n": {"$gte": 0}}, limit=100)
    assert sorted(item.namespace[0] for item in found) == names
    in_pages = [
        item.namespace[0]
        for offset in range(0, 25, 4)
        for item in await way.call("search", (), filter={"n": {"$gte": 0}}, limit=4, offset=offset)
    ]
    assert in_pages == [item.namespace[0] for item in found]


async def test_namespaces_are_listed_once(way: Way) -> None:
    """Those whose first bytes are the same, too."""
    for long in ("é" * 400, "é" * 2000):
        labels = [*(f"{number:02}" for number in range(12)), *(f"{long}{n:02}" for n in range(12))]
        ops = [PutOp((label, last), "k", {}) for label in labels[::-1] for last in ("a", "b")]
        await way.call("batch", ops)
        for options, rest in (({"suffix": ("b",)}, ("b",)), ({"max_depth": 1}, ())):
            found = await way.call("list_namespaces", **options, limit=100)
            assert sorted(found) == sorted((label, *rest) for label in labels)
            in_pages = [
                namespace
                for offset in range(0, 30, 4)
                for namespace in await way.call(
                    "list_namespaces", **options, limit=4, offset=offset
                )
            ]
            assert in_pages == found
        found = await way.call("list_namespaces", prefix=(f"{long}01",), limit=100)
        assert found == [(f"{long}01", "a"), (f"{long}01", "b")]
        await way.call("batch", [PutOp((label, n), "k", None) for label in labels for n in "ab"])


LABELS: Final = (
    "a",
    "b",
    "B",
    "a ",
    "é",
    '"',
    "\\",
    "'",
    "],[",
    "1",
    "%",
    "_",
    "\n",
    "\x01",
    "*",
    "😀",
)


def _matches(namespace: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    """Return True if a namespace begins with labels, as LangGraph's own store compares them."""
    return len(namespace) >= len(labels) and all(
        wanted in {"*", label} for wanted, label in zip(labels, namespace, strict=False)
    )


async def test_random_prefixes_suffixes_and_depths_find_what_they_name(way: Way) -> None:
    random = Random(FRESH)
    stored = {tuple(random.choices(LABELS, k=random.randint(1, 5))) for _ in range(200)}
    await way.call("batch", [PutOp(namespace, "k", {}) for namespace in sorted(stored)])
    for _ in range(60):
        labels = [*random.choice(sorted(stored)), *random.choices(LABELS, k=2)]
        wild = [random.choice(("*", label)) for label in labels]
        prefix, suffix = tuple(wild[: random.randint(0, 4)]), tuple(wild[: random.randint(0, 3)])
        depth = random.choice((None, 1, 2, 3, 9))
        wanted = {
            namespace[:depth]
            for namespace in stored
            if _matches(namespace, prefix) and _matches(namespace[::-1], suffix[::-1])
        }
        options = {"prefix": prefix, "suffix": suffix, "max_depth": depth, "limit": 1000}
        found = await way.call("list_namespaces", **options)
        assert found == sorted(wanted, key=_in_bytes), options
        page = await way.call("list_namespaces", **{**options, "limit": 3, "offset": 2})
        assert page == found[2:5]


def _in_bytes(namespace: tuple[str, ...]) -> bytes:
    return "".join(f"{label}." for label in namespace).encode()
