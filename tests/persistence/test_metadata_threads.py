"""The contract of metadata stores: threads."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import HTTPException
from skeino.schemas import ThreadTtlConfig

from tests.persistence.stores import Opened, ago, name, run, thread
from threadlog.errors import (
    InvalidIdError,
    InvalidInputError,
    InvalidJsonError,
    ThreadAlreadyExistsError,
)
from threadlog.persistence import ThreadRow, ThreadSearch, ThreadTtl

KEYS = {
    *("thread_id", "created_at", "updated_at", "state_updated_at"),
    *("metadata", "config", "status", "ttl"),
}
JSON = {"a": {"b": [1, 2.5, None, True, "ü\u2028😀"]}, "": 0, 'quote"s': -1, "n": None}


async def test_a_new_thread(shared: Opened) -> None:
    thread_id = name()
    row = await shared.store.create_thread(
        thread_id, metadata=JSON, config={"c": [1]}, ttl=None, if_exists="raise"
    )
    assert set(row) == KEYS
    assert str(row["thread_id"]) == thread_id
    assert (row["metadata"], row["config"]) == (JSON, {"c": [1]})
    assert (row["status"], row["ttl"], row["state_updated_at"]) == ("idle", None, None)
    assert row["created_at"] == row["updated_at"]
    assert row["created_at"].utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(seconds=30)
    assert await shared.store.fetch_thread_row(thread_id) == row
    assert await shared.store.fetch_thread_row(name()) is None


async def test_a_thread_that_exists(shared: Opened) -> None:
    """Do_nothing gives the stored row, and neither way changes it."""
    thread_id = await thread(shared.store, metadata={"first": 1})
    row = await shared.store.fetch_thread_row(thread_id)
    again: dict[str, Any] = {"metadata": {"second": 2}, "config": {"x": 1}, "ttl": None}
    given = await shared.store.create_thread(thread_id, **again, if_exists="do_nothing")
    assert given == row
    with pytest.raises((ThreadAlreadyExistsError, HTTPException), match=thread_id):
        await shared.store.create_thread(thread_id, **again, if_exists="raise")
    assert await shared.store.fetch_thread_row(thread_id) == row


async def test_the_error_of_a_thread_that_exists(opened: Opened) -> None:
    thread_id = await thread(opened.store)
    with pytest.raises(ThreadAlreadyExistsError, match="exists already") as caught:
        await thread(opened.store, thread_id)
    assert caught.value.thread_id == thread_id
    assert "fork" not in str(caught.value)


@pytest.mark.parametrize("kind", [ThreadTtl, ThreadTtlConfig])
@pytest.mark.parametrize("strategy", ["delete", "keep_latest"])
async def test_a_time_to_live(shared: Opened, kind: Any, strategy: str) -> None:
    thread_id = name()
    row = await shared.store.create_thread(
        thread_id,
        metadata={},
        config={},
        ttl=kind(ttl=1.5, strategy=strategy),
        if_exists="raise",
    )
    assert set(row["ttl"]) == {"strategy", "ttl_minutes", "expires_at"}
    assert (row["ttl"]["strategy"], row["ttl"]["ttl_minutes"]) == (strategy, 1.5)
    expires_at = datetime.fromisoformat(row["ttl"]["expires_at"])
    assert expires_at.utcoffset() == timedelta(0)
    assert abs(expires_at - row["created_at"] - timedelta(seconds=90)) < timedelta(seconds=1)
    assert await shared.store.fetch_thread_row(thread_id) == row


async def test_the_end_of_a_time_to_live_is_of_the_same_clock(opened: Opened) -> None:
    """It is so many minutes after the creation, to the microsecond."""
    thread_id = await thread(opened.store, ttl=ThreadTtl(ttl=10))
    row = await opened.store.fetch_thread_row(thread_id)
    expires_at = datetime.fromisoformat(row["ttl"]["expires_at"])
    assert expires_at == row["created_at"] + timedelta(minutes=10)


@pytest.mark.parametrize("ttl", [None, ThreadTtl(None), ThreadTtlConfig()])
async def test_no_time_to_live(shared: Opened, ttl: Any) -> None:
    """A lifetime without minutes is no lifetime."""
    row = await shared.store.create_thread(
        name(), metadata={}, config={}, ttl=ttl, if_exists="raise"
    )
    assert row["ttl"] is None


async def test_updates_replace(shared: Opened) -> None:
    """Nothing is merged, that what is not given stays, and {} empties."""
    thread_id = await thread(shared.store, metadata={"a": 1}, config={"b": 2})
    await shared.store.update_thread(thread_id, metadata={"c": JSON})
    row = await shared.store.fetch_thread_row(thread_id)
    assert (row["metadata"], row["config"], row["status"]) == ({"c": JSON}, {"b": 2}, "idle")
    await shared.store.update_thread(thread_id, config={"d": 4}, status_value="busy")
    row = await shared.store.fetch_thread_row(thread_id)
    assert (row["metadata"], row["config"], row["status"]) == ({"c": JSON}, {"d": 4}, "busy")
    await shared.store.update_thread(thread_id, metadata={}, config={})
    row = await shared.store.fetch_thread_row(thread_id)
    assert (row["metadata"], row["config"], row["status"]) == ({}, {}, "busy")


async def test_updates_move_their_times(opened: Opened) -> None:
    thread_id = await thread(opened.store)
    old = ago(60)
    for given, state in (
        ({"status_value": "busy"}, False),
        ({"metadata": {}}, False),
        ({"config": {}}, False),
        ({"mark_state_updated": True}, True),
        ({"mark_state_updated": True, "metadata": {"a": 1}}, True),
    ):
        times = {"created_at": old, "updated_at": old, "state_updated_at": None}
        await opened.behind.set_thread(thread_id, **times)
        await opened.store.update_thread(thread_id, **given)
        row = await opened.store.fetch_thread_row(thread_id)
        assert abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)
        assert row["created_at"] == old
        assert row["state_updated_at"] == (row["updated_at"] if state else None)


async def test_an_empty_update_changes_nothing(opened: Opened) -> None:
    """The row stays as it is, its time included."""
    thread_id = await thread(opened.store, metadata={"a": 1})
    await opened.behind.set_thread(thread_id, updated_at=ago(60))
    row = await opened.store.fetch_thread_row(thread_id)
    await opened.store.update_thread(thread_id)
    assert await opened.store.fetch_thread_row(thread_id) == row


async def test_an_update_of_nobody(shared: Opened) -> None:
    """A thread that does not exist is not made."""
    thread_id = name()
    await shared.store.update_thread(thread_id, status_value="busy", metadata={"a": 1})
    assert await shared.store.fetch_thread_row(thread_id) is None


async def test_an_update_leaves_others_alone(shared: Opened) -> None:
    """One thread is updated."""
    one, other = await thread(shared.store), await thread(shared.store)
    row = await shared.store.fetch_thread_row(other)
    await shared.store.update_thread(one, status_value="error", metadata={"a": 1})
    assert await shared.store.fetch_thread_row(other) == row


async def test_deleting(shared: Opened) -> None:
    """A thread goes with its runs, and no other; again is nothing."""
    one, other = await thread(shared.store), await thread(shared.store)
    await run(shared.store, one)
    await run(shared.store, one)
    kept = await run(shared.store, other)
    for _ in range(2):
        await shared.store.delete_thread(one)
        assert await shared.store.fetch_thread_row(one) is None
        assert await shared.behind.runs() == [kept]
    assert await shared.store.fetch_thread_row(other) is not None


async def test_a_deleted_thread_can_be_made_again(shared: Opened) -> None:
    """Nothing of the old one is left."""
    thread_id = await thread(shared.store, metadata={"a": 1}, ttl=ThreadTtl(5))
    await run(shared.store, thread_id)
    await shared.store.delete_thread(thread_id)
    await thread(shared.store, thread_id)
    row = await shared.store.fetch_thread_row(thread_id)
    assert (row["metadata"], row["ttl"]) == ({}, None)
    listed = await shared.store.list_run_rows(thread_id, limit=9, offset=0, status_value=None)
    assert listed == []


async def test_rows_are_the_callers(opened: Opened) -> None:
    """Changing what was given, or what is got, changes nothing that is stored."""
    given: dict[str, Any] = {"list": [1]}
    thread_id = name()
    created = await opened.store.create_thread(
        thread_id, metadata=given, config=given, ttl=ThreadTtl(5), if_exists="raise"
    )
    given["list"].append(2)
    created["metadata"]["list"].append(3)
    created["ttl"]["strategy"] = "changed"
    (found,) = await opened.store.search_thread_rows(ThreadSearch(ids=[thread_id]))
    found["config"]["list"].append(4)
    row = await opened.store.fetch_thread_row(thread_id)
    row["metadata"]["list"].append(5)
    await opened.store.update_thread(thread_id, metadata=given)
    given["list"].append(6)
    stored = await opened.store.fetch_thread_row(thread_id)
    assert (stored["metadata"], stored["config"]) == ({"list": [1, 2]}, {"list": [1]})
    assert stored["ttl"]["strategy"] == "delete"


async def test_tuples_are_lists_at_once(opened: Opened) -> None:
    """The row of a creation is what reading gives, tuples included."""
    given = {"t": (1, (2,))}
    thread_id = name()
    row: ThreadRow = await opened.store.create_thread(
        thread_id, metadata=given, config={}, ttl=None, if_exists="raise"
    )
    assert row["metadata"] == {"t": [1, [2]]}
    assert await opened.store.fetch_thread_row(thread_id) == row


async def test_releasing_a_busy_thread(opened: Opened) -> None:
    """Only a busy thread without a run in flight is, and what it becomes."""
    store, idle, busy = opened.store, await thread(opened.store), await thread(opened.store)
    assert not await store.release_busy_thread(name())
    await store.update_thread(busy, status_value="busy")
    run_id = await run(store, busy)
    for in_flight in ("pending", "running"):
        assert await store.update_run_status(run_id, in_flight)
        assert not await store.release_busy_thread(busy)
        assert (await store.fetch_thread_row(busy))["status"] == "busy"
    await store.update_run_status(run_id, "success")
    await run(store, idle)
    await opened.behind.set_thread(busy, updated_at=ago(60))
    assert await store.release_busy_thread(busy)
    row = await store.fetch_thread_row(busy)
    assert row["status"] == "error"
    assert abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)
    for status in ("idle", "interrupted", "error"):
        await store.update_thread(busy, status_value=status)
        assert not await store.release_busy_thread(busy, "idle")
        assert (await store.fetch_thread_row(busy))["status"] == status
    await store.update_thread(busy, status_value="busy")
    assert await store.release_busy_thread(busy, "interrupted")
    row = await store.fetch_thread_row(busy)
    assert (row["status"], row["state_updated_at"]) == ("interrupted", None)


async def test_release_busy_thread_marks_state_as_updated_if_asked(opened: Opened) -> None:
    """As in the next release of skeino."""
    store, busy = opened.store, await thread(opened.store)
    assert not await store.release_busy_thread(busy, "idle", mark_state_updated=True)
    await store.update_thread(busy, status_value="busy")
    assert await store.release_busy_thread(busy, "idle", mark_state_updated=True)
    row = await store.fetch_thread_row(busy)
    assert row["status"] == "idle"
    assert row["state_updated_at"] == row["updated_at"]


UUID = "b475edc6-a781-4ad7-a26d-6826b4d36674"
NO_UUIDS = ["", "x", "t" * 36, UUID.upper(), UUID.replace("-", ""), f"{UUID} ", 7, None]


@pytest.mark.parametrize("wrong", NO_UUIDS)
async def test_ids_that_are_no_uuids(opened: Opened, wrong: Any) -> None:
    store = opened.store
    for refused in (
        store.fetch_thread_row(wrong),
        store.create_thread(wrong, metadata={}, config={}, ttl=None, if_exists="raise"),
        store.update_thread(wrong, status_value="busy"),
        store.update_thread(wrong),
        store.delete_thread(wrong),
        store.release_busy_thread(wrong),
        store.create_run(wrong, name(), "a", {}, {}, "reject"),
        store.create_run(name(), wrong, "a", {}, {}, "reject"),
        store.update_run_status(wrong, "success"),
        store.fetch_run_row(wrong, name()),
        store.fetch_run_row(name(), wrong),
        store.list_run_rows(wrong, limit=1, offset=0, status_value=None),
        store.delete_run(wrong, name()),
        store.delete_run(name(), wrong),
        store.touch_runs([wrong]),
        store.fail_stale_runs(stale_after_seconds=1, exclude_run_ids=[wrong], error=""),
    ):
        with pytest.raises(InvalidIdError, match="UUID"):
            await refused
    assert await opened.behind.runs() == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"metadata": []}, InvalidJsonError),
        ({"metadata": {"a": float("nan")}}, InvalidJsonError),
        ({"metadata": {1: 2}}, InvalidJsonError),
        ({"metadata": {"a": 2**64}}, InvalidJsonError),
        ({"metadata": {"a": "\ud800"}}, InvalidJsonError),
        ({"config": None}, InvalidJsonError),
        ({"config": {"a": object()}}, InvalidJsonError),
        ({"ttl": ThreadTtl(-1)}, InvalidInputError),
        ({"ttl": ThreadTtl(float("inf"))}, InvalidInputError),
        ({"ttl": ThreadTtl(float("nan"))}, InvalidInputError),
        ({"ttl": ThreadTtl("5")}, InvalidInputError),  # type: ignore[arg-type]  # wrong on purpose
        ({"ttl": ThreadTtl(5, "later")}, InvalidInputError),  # type: ignore[arg-type]  # likewise
        ({"if_exists": "replace"}, InvalidInputError),
    ],
)
async def test_what_a_thread_cannot_be(
    opened: Opened, changed: dict[str, Any], error: type[Exception]
) -> None:
    thread_id = name()
    with pytest.raises(error):
        await thread(opened.store, thread_id, **changed)
    assert await opened.store.fetch_thread_row(thread_id) is None


async def test_what_a_thread_cannot_become(opened: Opened) -> None:
    thread_id = await thread(opened.store)
    row = await opened.store.fetch_thread_row(thread_id)
    wrong: list[dict[str, Any]] = [
        {"metadata": {"a": {1}}},
        {"config": []},
        {"status_value": "done"},
    ]
    for changed in wrong:
        with pytest.raises(InvalidInputError):
            await opened.store.update_thread(thread_id, **{"metadata": {"b": 1}, **changed})
    with pytest.raises(InvalidInputError):
        await opened.store.release_busy_thread(thread_id, "done")
    assert await opened.store.fetch_thread_row(thread_id) == row
