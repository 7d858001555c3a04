"""Searches and lists that read several pages of rows."""

import pytest
from langgraph.store.base import PutOp

from tests.store.ways import Way
from tests.support.databases import execute
from threadlog.graph import memories


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few rows at a time."""
    monkeypatch.setattr(memories, "_PAGE", 5)
    monkeypatch.setattr(memories, "_NAMESPACES", 5)


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
    long = "é" * 400
    labels = [*(f"{number:02}" for number in range(12)), *(f"{long}{n}" for n in range(12))]
    ops = [PutOp((label, last), "k", {}) for label in labels for last in ("a", "b")]
    await way.call("batch", ops)
    found = await way.call("list_namespaces", suffix=("b",), limit=100)
    assert sorted(found) == sorted((label, "b") for label in labels)
    found = await way.call("list_namespaces", max_depth=1, limit=100)
    assert sorted(found) == sorted((label,) for label in labels)
    found = await way.call("list_namespaces", prefix=(f"{long}1",), limit=100)
    assert found == [(f"{long}1", "a"), (f"{long}1", "b")]
