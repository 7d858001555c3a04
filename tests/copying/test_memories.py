"""Copying the items of the memory store."""

from typing import Any

import pytest
from langgraph.store.base import PutOp

from tests.support.databases import execute
from tests.support.ends import Ends, rows_of, say
from tests.support.patience import until
from threadlog.copying import paging
from threadlog.copying.copy import Copied, compare_databases, copy_database
from threadlog.errors import ConfigurationError
from threadlog.langgraph import Store
from threadlog.models import STORE

LONG = "é" * 2000
VALUES: dict[str, Any] = {
    "numbers": {"n": [1.0, 1e22, 2**64 - 1, -(2**63), 0.1, 5e-324], "none": None},
    "texts": {"t": "ü\x01 '\"\\%_\n", "": {"deep": [[{"a": True}]]}},
    "empty": {},
    LONG: {"long": "x" * 300_000},
}


async def fill(url: str) -> None:
    """Fill a database with items of several namespaces, with and without an expiry."""
    async with Store(url) as store:
        await store.setup()
        for namespace in (("acme",), ("acme", "users"), ("ACME ",), (LONG, "%")):
            for key, value in VALUES.items():
                await store.aput(namespace, key, value, ttl=90 if key == "empty" else None)


async def copied(ends: Ends, **options: Any) -> Copied:
    """Copy the memory store without a fault."""
    (group,) = await copy_database(*ends, part="store", **options)
    assert group.faults == []
    return group


async def test_items_arrive_as_they_are(every_store_ends: Ends) -> None:
    await fill(every_store_ends.source)
    before = await rows_of(every_store_ends.source, STORE)
    assert len(before["threadlog_store"]) == 16
    group = await copied(every_store_ends)
    assert (group.group, group.total, group.copied, group.rows) == ("memories", 16, 16, 16)
    assert await rows_of(every_store_ends.target, STORE) == before
    group = await copied(every_store_ends)
    assert (group.unchanged, group.copied, group.rows) == (16, 0, 0)
    (group,) = await compare_databases(*every_store_ends, part="store")
    assert (group.unchanged, group.faults) == (16, [])
    async with Store(every_store_ends.target) as store:
        item = await store.aget(("acme", "users"), "numbers")
        assert item is not None
        assert item.value == VALUES["numbers"]
        assert len(await store.asearch(("acme",), limit=100)) == 8
    assert await rows_of(every_store_ends.source, STORE) == before


async def test_items_are_copied_in_pages(store_ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    await fill(store_ends.source)
    assert (await copied(store_ends)).copied == 16
    assert await rows_of(store_ends.target, STORE) == await rows_of(store_ends.source, STORE)


async def test_an_interrupted_copy_continues(
    store_ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    await fill(store_ends.source)

    def interrupt(copied: Copied, fault: object) -> None:
        if copied.threads == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copied(store_ends, report=interrupt)
    group = await copied(store_ends)
    assert (group.unchanged, group.copied, group.rows) == (9, 7, 7)
    assert await rows_of(store_ends.target, STORE) == await rows_of(store_ends.source, STORE)


async def test_changes_in_the_source_are_copied_by_the_next_run(store_ends: Ends) -> None:
    await fill(store_ends.source)
    await copied(store_ends)
    async with Store(store_ends.source) as store:
        await store.aput(("acme",), "texts", {"changed": 1})
        await store.aput(("acme",), "new", {"x": 1})
        await store.aget(("acme",), "empty")  # which postpones its expiry
        await store.adelete(("acme",), "numbers")
    async with Store(store_ends.target) as store:
        await store.aput(("other",), "k", {"only": "target"})
    group = await copied(store_ends)
    assert (group.copied, group.rows, group.unchanged) == (3, 3, 13)
    source, target = (
        await rows_of(store_ends.source, STORE),
        await rows_of(store_ends.target, STORE),
    )
    kept = {
        key: row
        for key, row in target["threadlog_store"].items()
        if key not in source["threadlog_store"]
    }
    assert {row["item_key"] for row in kept.values()} == {"k", "numbers"}
    assert {**source["threadlog_store"], **kept} == target["threadlog_store"]


async def test_other_content_in_the_target_is_a_conflict_and_kept(store_ends: Ends) -> None:
    await fill(store_ends.source)
    await copied(store_ends)
    async with Store(store_ends.target) as store:
        await store.aput(("acme", "users"), "texts", {"of": "target"})
    async with Store(store_ends.source) as store:
        await store.aput(("acme",), "texts", {"of": "source"})
    (group,) = await compare_databases(*store_ends, part="store")
    assert [fault.kind for fault in group.faults] == ["different"] * 2
    (group,) = await copy_database(*store_ends, part="store")
    (fault,) = group.faults
    assert (fault.thread_id, fault.kind) == ("('acme', 'users') 'texts'", "conflict")
    assert "value" in fault.reasons[0]
    assert group.copied == 1
    async with Store(store_ends.target) as store:
        for namespace, value in ((("acme", "users"), "target"), (("acme",), "source")):
            item = await store.aget(namespace, "texts")
            assert item is not None
            assert item.value == {"of": value}


async def test_expired_items_are_neither_copied_nor_in_the_way(store_ends: Ends) -> None:
    async with Store(store_ends.source) as source, Store(store_ends.target) as target:
        await source.setup()
        await target.setup()
        await source.aput(("a",), "expired", {"x": 1}, ttl=0.001)
        await target.aput(("a",), "k", {"old": 1}, ttl=0.001)
        await until(lambda: _gone(source, "expired"))
        await until(lambda: _gone(target, "k"))
        await source.aput(("a",), "k", {"new": 1})
    group = await copied(store_ends)
    assert (group.copied, group.unchanged) == (1, 0)
    rows = (await rows_of(store_ends.target, STORE))["threadlog_store"]
    assert [row["value"] for row in rows.values()] == [{"new": 1}]


async def _gone(store: Store, key: str) -> bool:
    return await store.aget(("a",), key, refresh_ttl=False) is None


@pytest.mark.mysql
async def test_a_refused_item_is_named_and_the_others_are_copied(
    sqlite_url: str, mysql_store_url: str
) -> None:
    """SQLite holds a value that the limit of a statement keeps out of MySQL."""
    async with Store(sqlite_url) as store:
        await store.abatch([PutOp(("a",), str(n), {"n": n}) for n in range(5)])
    await execute(
        sqlite_url, "UPDATE threadlog_store SET value = '{\"n\": NaN}' WHERE item_key = '3'"
    )
    (group,) = await copy_database(sqlite_url, mysql_store_url, part="store")
    (fault,) = group.faults
    assert (fault.thread_id, fault.kind) == ("('a',) '3'", "failed")
    assert group.copied == 4


async def test_memories_are_copied_with_the_rest_but_not_with_threads(
    sqlite_url: str, second_sqlite_url: str
) -> None:
    await say(sqlite_url, "t", "a")
    await fill(sqlite_url)
    groups = await copy_database(sqlite_url, second_sqlite_url, threads=["t"])
    assert [(group.group, group.copied) for group in groups] == [("messages", 1)]
    groups = await copy_database(sqlite_url, second_sqlite_url)
    assert [(group.group, group.copied) for group in groups] == [("messages", 0), ("memories", 16)]
    with pytest.raises(ConfigurationError, match="belong to no thread"):
        await copy_database(sqlite_url, second_sqlite_url, part="store", threads=["t"])
