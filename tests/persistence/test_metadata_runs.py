"""The contract of metadata stores: runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.persistence.stores import Opened, ago, name, run, thread
from threadlog.errors import (
    InvalidInputError,
    InvalidJsonError,
    RunAlreadyExistsError,
    RunError,
    ThreadNotFoundError,
)

KEYS = {
    *("run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata"),
    *("kwargs", "multitask_strategy", "error"),
}
FINAL = ["success", "error", "timeout", "interrupted"]
JSON = {"input": {"messages": [{"role": "user", "content": "ü😀"}]}, "n": None, "": [1.5]}


async def test_a_new_run(shared: Opened) -> None:
    thread_id, run_id = await thread(shared.store), name()
    row = await shared.store.create_run(
        run_id, thread_id, "my agent", JSON, {"kw": JSON}, "enqueue"
    )
    assert set(row) == KEYS
    assert (str(row["run_id"]), str(row["thread_id"])) == (run_id, thread_id)
    assert (row["metadata"], row["kwargs"]) == (JSON, {"kw": JSON})
    assert (row["status"], row["error"]) == ("pending", None)
    assert (row["assistant_id"], row["multitask_strategy"]) == ("my agent", "enqueue")
    assert row["created_at"] == row["updated_at"]
    assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(seconds=30)
    assert await shared.store.fetch_run_row(thread_id, run_id) == row


async def test_a_run_is_its_threads(shared: Opened) -> None:
    """Neither reading nor deleting finds it under another thread."""
    one, other = await thread(shared.store), await thread(shared.store)
    run_id = await run(shared.store, one)
    assert await shared.store.fetch_run_row(other, run_id) is None
    assert await shared.store.fetch_run_row(one, name()) is None
    await shared.store.delete_run(other, run_id)
    assert await shared.store.fetch_run_row(one, run_id) is not None
    kept = await run(shared.store, one)
    await shared.store.delete_run(one, run_id)
    await shared.store.delete_run(one, run_id)
    assert await shared.behind.runs() == [kept]


async def test_a_run_of_nobody(opened: Opened) -> None:
    thread_id = name()
    with pytest.raises(ThreadNotFoundError) as caught:
        await run(opened.store, thread_id)
    assert caught.value.thread_id == thread_id
    assert await opened.behind.runs() == []
    assert await opened.store.fetch_thread_row(thread_id) is None


async def test_a_run_that_exists(opened: Opened) -> None:
    one, other = await thread(opened.store), await thread(opened.store)
    run_id = await run(opened.store, one)
    row = await opened.store.fetch_run_row(one, run_id)
    for thread_id in (one, other):
        with pytest.raises(RunAlreadyExistsError, match=run_id) as caught:
            await run(opened.store, thread_id, run_id)
        assert isinstance(caught.value, RunError)
        assert (caught.value.thread_id, caught.value.run_id) == (thread_id, run_id)
    assert await opened.store.fetch_run_row(one, run_id) == row
    assert await opened.behind.runs() == [run_id]
    with pytest.raises(ThreadNotFoundError):
        await run(opened.store, name(), run_id)


@pytest.mark.parametrize("final", FINAL)
async def test_final_is_final(shared: Opened, final: Any) -> None:
    """A run moves while it is in flight, and never again; and what is returned."""
    store, thread_id = shared.store, await thread(shared.store)
    run_id, other = await run(store, thread_id), await run(store, thread_id)
    assert await store.update_run_status(run_id, "running")
    assert await store.update_run_status(run_id, "running")
    assert await store.update_run_status(run_id, final, error="because")
    row = await store.fetch_run_row(thread_id, run_id)
    assert (row["status"], row["error"]) == (final, "because")
    for late in [*FINAL, "pending", "running"]:
        assert not await store.update_run_status(run_id, late, error="late")
        await store.touch_runs([run_id])
        assert await store.fetch_run_row(thread_id, run_id) == row
    assert not await store.update_run_status(name(), "success")
    assert (await store.fetch_run_row(thread_id, other))["status"] == "pending"


async def test_the_same_status_again_matches(opened: Opened) -> None:
    """A run is matched where nothing in it changes, at one instant even."""
    run_id = await run(opened.store, await thread(opened.store))
    assert all([await opened.store.update_run_status(run_id, "running") for _ in range(50)])


async def test_the_error_is_always_replaced(shared: Opened) -> None:
    """A status without an error clears the one before, and the time moves."""
    store, thread_id = shared.store, await thread(shared.store)
    run_id = await run(store, thread_id)
    await store.update_run_status(run_id, "running", error="ü😀 " * 1000)
    row = await store.fetch_run_row(thread_id, run_id)
    assert row["error"] == "ü😀 " * 1000
    await shared.behind.set_run(run_id, updated_at=ago(60))
    await store.update_run_status(run_id, "success")
    row = await store.fetch_run_row(thread_id, run_id)
    assert row["error"] is None
    assert abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)


async def listed(opened: Opened, thread_id: str, **wanted: Any) -> list[str]:
    """List a thread's runs."""
    given = {"limit": 100, "offset": 0, "status_value": None, **wanted}
    rows = await opened.store.list_run_rows(thread_id, **given)
    return [str(row["run_id"]) for row in rows]


async def test_listing(shared: Opened) -> None:
    thread_id, other = await thread(shared.store), await thread(shared.store)
    made = [await run(shared.store, thread_id) for _ in range(7)]
    await run(shared.store, other)
    for place, run_id in enumerate(made):
        await shared.behind.set_run(run_id, created_at=ago(100 - place))
    made.reverse()
    assert await listed(shared, thread_id) == made
    assert await listed(shared, thread_id, limit=3) == made[:3]
    assert await listed(shared, thread_id, limit=3, offset=5) == made[5:]
    await shared.store.update_run_status(made[2], "success")
    await shared.store.update_run_status(made[4], "success")
    assert await listed(shared, thread_id, status_value="success") == [made[2], made[4]]
    assert await listed(shared, thread_id, status_value="success", limit=1, offset=1) == [made[4]]
    assert await listed(shared, name()) == []
    (row,) = await shared.store.list_run_rows(thread_id, limit=1, offset=0, status_value=None)
    assert row == await shared.store.fetch_run_row(thread_id, made[0])


async def test_runs_of_one_instant(opened: Opened) -> None:
    thread_id, instant = await thread(opened.store), ago(60)
    made = [await run(opened.store, thread_id) for _ in range(9)]
    for run_id in made:
        await opened.behind.set_run(run_id, created_at=instant)
    made.sort(reverse=True)
    assert await listed(opened, thread_id) == made
    pages = [await listed(opened, thread_id, limit=2, offset=at) for at in range(0, 10, 2)]
    assert sum(pages, []) == made  # noqa: RUF017 - few


async def test_touching(shared: Opened) -> None:
    """The time of the given runs in flight moves, and of no other."""
    store, thread_id, old = shared.store, await thread(shared.store), ago(600)
    pending, running, done, other = [await run(store, thread_id) for _ in range(4)]
    await store.update_run_status(running, "running")
    await store.update_run_status(done, "success")
    for run_id in (pending, running, done, other):
        await shared.behind.set_run(run_id, updated_at=old)
    await store.touch_runs([])
    await store.touch_runs([pending, running, done, name()])
    for run_id, moved in ((pending, True), (running, True), (done, False), (other, False)):
        row = await store.fetch_run_row(thread_id, run_id)
        assert (row["updated_at"] == old) is not moved
        assert not moved or abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)
    assert (await store.fetch_run_row(thread_id, running))["status"] == "running"


async def test_touching_many(opened: Opened) -> None:
    thread_id = await thread(opened.store)
    first = await run(opened.store, thread_id)
    await opened.behind.set_run(first, updated_at=ago(600))
    await opened.store.touch_runs([*(name() for _ in range(1200)), first, first])
    row = await opened.store.fetch_run_row(thread_id, first)
    assert abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)


async def swept(opened: Opened, exclude: tuple[str, ...] = (), seconds: float = 60) -> set[str]:
    """Fail what is stale."""
    rows = await opened.store.fail_stale_runs(
        stale_after_seconds=seconds, exclude_run_ids=exclude, error="its process is gone"
    )
    return {str(row["run_id"]) for row in rows}


async def test_failing_stale_runs(shared: Opened) -> None:
    store, thread_id = shared.store, await thread(shared.store)
    pending, running, alive, done, mine = [await run(store, thread_id) for _ in range(5)]
    await store.update_run_status(running, "running")
    await store.update_run_status(done, "success")
    for run_id in (pending, running, done, mine):
        await shared.behind.set_run(run_id, updated_at=ago(90))
    before = await store.fetch_run_row(thread_id, done)
    rows = await store.fail_stale_runs(
        stale_after_seconds=60, exclude_run_ids={mine}, error="its process is gone"
    )
    assert {str(row["run_id"]) for row in rows} == {pending, running}
    for row in rows:
        assert set(row) == KEYS
        assert (row["status"], row["error"]) == ("error", "its process is gone")
        assert abs(datetime.now(UTC) - row["updated_at"]) < timedelta(seconds=30)
        assert row == await store.fetch_run_row(thread_id, str(row["run_id"]))
        assert not await store.update_run_status(str(row["run_id"]), "success")
    assert await swept(shared, (mine,)) == set()
    assert (await store.fetch_run_row(thread_id, alive))["status"] == "pending"
    assert await store.fetch_run_row(thread_id, done) == before
    assert await swept(shared) == {mine}


async def test_a_heartbeat_keeps_a_run_alive(shared: Opened) -> None:
    """A run that was touched is not stale."""
    run_id = await run(shared.store, await thread(shared.store))
    await shared.behind.set_run(run_id, updated_at=ago(90))
    await shared.store.touch_runs([run_id])
    assert await swept(shared) == set()


async def test_parts_of_a_second(opened: Opened) -> None:
    """Staleness is told to parts of a second, and what the extremes are."""
    run_id = await run(opened.store, await thread(opened.store))
    await opened.behind.set_run(run_id, updated_at=ago(2.6))
    assert await swept(opened, seconds=10**10) == set()
    assert await swept(opened, seconds=60.5) == set()
    assert await swept(opened, seconds=2.5) == {run_id}
    other = await run(opened.store, await thread(opened.store))
    await opened.behind.set_run(other, updated_at=ago(0.01))
    assert await swept(opened, seconds=0) == {other}


async def test_many_stale_runs(opened: Opened) -> None:
    thread_id = await thread(opened.store)
    made = {await run(opened.store, thread_id) for _ in range(520)}
    for run_id in made if not opened.url else ():
        await opened.behind.set_run(run_id, updated_at=ago(90))
    assert await swept(opened, seconds=0) == made
    assert await listed(opened, thread_id, status_value="pending") == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"metadata": None}, InvalidJsonError),
        ({"kwargs": {"a": {1, 2}}}, InvalidJsonError),
        ({"kwargs": {"a": float("inf")}}, InvalidJsonError),
        ({"assistant_id": ""}, InvalidInputError),
        ({"assistant_id": "a" * 256}, InvalidInputError),
        ({"assistant_id": 7}, InvalidInputError),
        ({"multitask_strategy": "wait"}, InvalidInputError),
    ],
)
async def test_what_a_run_cannot_be(
    opened: Opened, changed: dict[str, Any], error: type[Exception]
) -> None:
    given = {
        "assistant_id": "agent",
        "metadata": {},
        "kwargs": {},
        "multitask_strategy": "reject",
        **changed,
    }
    with pytest.raises(error):
        await opened.store.create_run(name(), await thread(opened.store), **given)
    assert await opened.behind.runs() == []


async def test_what_cannot_be_asked_of_runs(opened: Opened) -> None:
    store, thread_id = opened.store, await thread(opened.store)
    run_id = await run(store, thread_id)
    page = {"limit": 1, "offset": 0, "status_value": None}
    sweep: dict[str, Any] = {"stale_after_seconds": 0, "exclude_run_ids": (), "error": "e"}
    for refused in (
        store.update_run_status(run_id, "done"),
        store.update_run_status(run_id, None),
        store.update_run_status(run_id, "error", error=7),
        store.list_run_rows(thread_id, **{**page, "limit": 0}),
        store.list_run_rows(thread_id, **{**page, "offset": -1}),
        store.list_run_rows(thread_id, **{**page, "status_value": "done"}),
        store.touch_runs(run_id),
        store.touch_runs(None),
        store.fail_stale_runs(**{**sweep, "stale_after_seconds": -1}),
        store.fail_stale_runs(**{**sweep, "stale_after_seconds": float("inf")}),
        store.fail_stale_runs(**{**sweep, "stale_after_seconds": None}),
        store.fail_stale_runs(**{**sweep, "exclude_run_ids": run_id}),
        store.fail_stale_runs(**{**sweep, "error": None}),
    ):
        with pytest.raises(InvalidInputError):
            await refused
    assert (await store.fetch_run_row(thread_id, run_id))["status"] == "pending"


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        ("tool said: a\0b", "tool said: a\ufffdb"),
        ("cannot parse 'hi \ud83d'", "cannot parse 'hi \ufffd'"),
        ("\udfff\ud800x\ud83d\ude00", "\ufffd\ufffdx\U0001f600"),
    ],
)
async def test_error_text_with_unstorable_characters_is_recorded(
    opened: Opened, error: str, stored: str
) -> None:
    """A run whose failure cannot be recorded stays in flight, and its thread busy."""
    store, thread_id = opened.store, await thread(opened.store)
    failed, stale = await run(store, thread_id), await run(store, thread_id)
    assert await store.update_run_status(failed, "error", error=error)
    await opened.behind.set_run(stale, updated_at=ago(60))
    (row,) = await store.fail_stale_runs(stale_after_seconds=30, exclude_run_ids=(), error=error)
    assert row["error"] == stored
    for run_id in (failed, stale):
        row = await store.fetch_run_row(thread_id, run_id)
        assert (row["status"], row["error"]) == ("error", stored)
