"""Items that expire, and their deletion."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.store.base import PutOp

from tests.store.ways import WAYS, Way
from tests.support.databases import execute, on_connection
from tests.support.patience import keep_cancelling, until
from threadlog import Database
from threadlog.errors import NotOpenError
from threadlog.langgraph import Store

_ENDED = "2026-01-01 00:00:00"


async def expire(url: str, key: str = "k") -> None:
    """Set the end of an item's time to the past."""
    ended = f"{_ENDED}.000000+00:00".replace(" ", "T") if url.startswith("sqlite") else _ENDED
    await execute(
        url, f"UPDATE threadlog_store SET expires_at = '{ended}' WHERE item_key = '{key}'"
    )


async def count(url: str) -> int:
    """Count the rows of the table."""
    query = "SELECT COUNT(*) FROM threadlog_store"
    found: int = await on_connection(url, lambda c: c.exec_driver_sql(query).scalar_one())
    return found


async def ends(url: str) -> dict[str, Any]:
    """Return the end of each item's time."""
    query = "SELECT item_key, expires_at FROM threadlog_store"
    return await on_connection(url, lambda c: dict(c.exec_driver_sql(query).all()))


async def test_an_expired_item_is_as_if_it_were_not_there(way: Way, store_url: str) -> None:
    await way.call("put", ("a",), "k", {"x": 1}, ttl=5)
    first = await way.call("get", ("a",), "k")
    await expire(store_url)
    assert await way.call("get", ("a",), "k") is None
    assert await way.keys() == await way.keys(filter={"x": 1}) == []
    assert await way.call("list_namespaces") == []
    await way.call("put", ("a",), "k", {"x": 2})
    again = await way.call("get", ("a",), "k")
    assert again.created_at > first.created_at, "it was created anew"


async def test_a_new_item_was_created_when_it_was_updated(way: Way) -> None:
    keys = [str(number) for number in range(20)]
    await way.call("put", ("a",), "put", {"x": 1}, ttl=5)
    await way.call("batch", [PutOp(("a",), key, {"x": 1}) for key in keys])
    found = await way.call("search", ("a",), limit=100)
    assert len(found) == len(keys) + 1
    assert [item.key for item in found if item.created_at != item.updated_at] == []
    await way.call("put", ("a",), "put", {"x": 2})
    again = await way.call("get", ("a",), "put")
    assert again.created_at < again.updated_at


async def test_reading_postpones_the_end_and_only_if_asked(way: Way, store_url: str) -> None:
    for key in ("got", "found", "left"):
        await way.call("put", (key,), key, {"x": 1}, ttl=5)
    before = await ends(store_url)
    await asyncio.sleep(0.01)
    await way.call("get", ("got",), "got")
    await way.call("search", ("found",))
    await way.call("get", ("left",), "left", refresh_ttl=False)
    await way.call("search", ("left",), refresh_ttl=False)
    after = await ends(store_url)
    assert {key for key in after if after[key] > before[key]} == {"got", "found"}


@pytest.mark.one_database
async def test_defaults_are_those_of_the_configuration(way_name: str, store_url: str) -> None:
    ttl = {"default_ttl": 5, "refresh_on_read": False}
    async with WAYS[way_name](store_url, ttl=ttl) as way:
        await way.call("put", ("a",), "default", {"x": 1})
        await way.call("put", ("a",), "never", {"x": 1}, ttl=None)
        before = await ends(store_url)
        assert before["never"] is None
        assert before["default"] is not None
        await asyncio.sleep(0.01)
        await way.call("get", ("a",), "default")
        assert await ends(store_url) == before
        await way.call("get", ("a",), "default", refresh_ttl=True)
        assert (await ends(store_url))["default"] > before["default"]


@pytest.mark.parametrize("opened", ["own", "own_sync"])
async def test_a_sweep_deletes_what_has_expired(opened: str, store_url: str) -> None:
    async with WAYS[opened](store_url) as way:
        store: Any = way.store
        for key in ("k", "other", "never"):
            await way.call("put", ("a",), key, {"x": 1}, ttl=None if key == "never" else 5)
        await expire(store_url)
        swept = [await _maybe(store.sweep_ttl) for _ in range(2)]
    assert swept == [1, 0]
    assert await count(store_url) == 2


async def _maybe(method: Callable[..., Any], *args: Any) -> Any:
    """Call a method, in a thread unless it is to be awaited."""
    found = await asyncio.to_thread(method, *args)
    return await found if isinstance(found, Awaitable) and not isinstance(found, bool) else found


@pytest.mark.one_database
@pytest.mark.parametrize("opened", ["own", "own_sync"])
async def test_a_sweeper_runs_until_it_is_stopped(opened: str, store_url: str) -> None:
    async with WAYS[opened](store_url, ttl={"sweep_interval_minutes": 0.0001}) as way:
        store: Any = way.store
        first = store.start_ttl_sweeper()
        first = first if opened == "own_sync" else await first
        again = store.start_ttl_sweeper()
        assert (again if opened == "own_sync" else await again) is first
        await way.call("put", ("a",), "k", {"x": 1}, ttl=5)
        await expire(store_url)

        async def is_empty() -> bool:
            return await count(store_url) == 0

        await until(is_empty)
        stopped = store.stop_ttl_sweeper(timeout=60)
        assert (stopped if opened == "own_sync" else await stopped) is True
        assert first.done()


@pytest.mark.one_database
async def test_a_sweeper_goes_on_after_an_error_and_ends_with_the_block(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the tables are created after it started."""
    if empty_url.startswith("sqlite"):
        return  # they are created on opening
    async with Store(empty_url) as store:
        with caplog.at_level(logging.ERROR):
            task = await store.start_ttl_sweeper(0.0001)

            async def failed() -> bool:
                return bool(caplog.records)

            await until(failed)
        await store.setup()
        await store.aput(("a",), "k", {"x": 1}, ttl=5)
        await expire(empty_url)

        async def is_empty() -> bool:
            return await count(empty_url) == 0

        await until(is_empty)
        assert not task.done()
    assert task.done()


@pytest.mark.one_database
@pytest.mark.parametrize("opens", [Store, Database])
async def test_leaving_the_block_closes_a_store_whose_sweeper_is_waited_for_in_vain(
    store_url: str, opens: type[Store | Database]
) -> None:
    """As in a cancel scope of anyio, which cancels this wait too."""
    opened = opens(store_url)
    store = opened if isinstance(opened, Store) else opened.store

    async def use(started: asyncio.Event) -> None:
        async with opened:
            await store.start_ttl_sweeper()
            started.set()
            await asyncio.Event().wait()

    started, others = asyncio.Event(), asyncio.all_tasks()
    task = asyncio.create_task(use(started))
    await started.wait()
    await keep_cancelling(task)

    async def connections_are_closed() -> bool:
        return asyncio.all_tasks() <= others

    await until(connections_are_closed)
    with pytest.raises(NotOpenError):
        await store.aget(("a",), "k")
    async with opened:
        assert await store.aget(("a",), "k") is None
