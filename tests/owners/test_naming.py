"""Naming the owner of a thread: by whatever creates it, by a fork, and by an import."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from tests.support.databases import execute
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.ways import ensure_schema, host_engine
from threadlog import Checkpointer
from threadlog.errors import (
    CubepiSchemaUninitialized,
    InvalidIdError,
    InvalidInputError,
    ThreadOwnedError,
)
from threadlog.importing.import_log import import_into, parse_conversation

pytestmark = pytest.mark.every_way

FIRST_WRITES: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "append": lambda log, **given: log.append("t", [UserFactory()], **given),
    "save_extra": lambda log, **given: log.save_extra("t", {"a": 1}, **given),
    "claim_run": lambda log, **given: log.claim_run("t", "r", **given),
    "save_pending_request": lambda log, **given: log.save_pending_request(
        "t", HitlRequestFactory(), **given
    ),
    "save_hitl_answer": lambda log, **given: log.save_hitl_answer("t", "q", 1, **given),
}


async def _owners(checkpointer: Checkpointer) -> dict[str, str | None]:
    return {t.thread_id: t.owner for t in await checkpointer.list_threads()}


@pytest.mark.parametrize("name", FIRST_WRITES)
async def test_the_first_write_names_the_owner(checkpointer: Checkpointer, name: str) -> None:
    await FIRST_WRITES[name](checkpointer, owner="ann")
    assert await _owners(checkpointer) == {"t": "ann"}
    with pytest.raises(ThreadOwnedError) as caught:
        await checkpointer.append("t", [UserFactory()], owner="bob")
    assert caught.value.thread_id == "t"
    with pytest.raises(ThreadOwnedError):
        await FIRST_WRITES[name](checkpointer, owner="bob")
    assert await _owners(checkpointer) == {"t": "ann"}


@pytest.mark.parametrize("name", FIRST_WRITES)
async def test_a_thread_without_an_owner_gets_the_named_one(
    checkpointer: Checkpointer, name: str
) -> None:
    await checkpointer.append("t", [UserFactory()])
    assert await _owners(checkpointer) == {"t": None}
    await FIRST_WRITES[name](checkpointer, owner="ann")
    assert await _owners(checkpointer) == {"t": "ann"}
    await FIRST_WRITES["append"](checkpointer)
    await FIRST_WRITES["append"](checkpointer, owner="ann")
    assert await _owners(checkpointer) == {"t": "ann"}


async def test_a_question_is_not_removed_for_another_owner(checkpointer: Checkpointer) -> None:
    await checkpointer.save_pending_request("t", HitlRequestFactory(), owner="ann")
    with pytest.raises(ThreadOwnedError) as caught:
        await checkpointer.save_pending_request("t", None, owner="bob")
    assert caught.value.thread_id == "t"
    assert await checkpointer.load_pending_request("t") is not None
    await checkpointer.save_pending_request("t", None, owner="ann")
    assert await checkpointer.load_pending_request("t") is None


async def test_removing_a_question_names_no_owner(checkpointer: Checkpointer) -> None:
    await checkpointer.save_pending_request("nobodys", HitlRequestFactory())
    for thread_id in ("nobodys", "unknown"):
        await checkpointer.save_pending_request(thread_id, None, owner="ann")
    assert await _owners(checkpointer) == {"nobodys": None}
    assert await checkpointer.load_pending_request("nobodys") is None
    with pytest.raises(InvalidInputError):
        await checkpointer.scoped("bob").save_pending_request("nobodys", None, owner="ann")


async def _talk(checkpointer: Checkpointer, thread_id: str, owner: str | None) -> None:
    await checkpointer.claim_run(thread_id, "r", owner=owner)
    await checkpointer.append(thread_id, [UserFactory(run_id="r")])
    await checkpointer.mark_run_complete(thread_id, "r")


async def test_a_fork_has_the_owner_of_its_source(checkpointer: Checkpointer) -> None:
    await _talk(checkpointer, "anns", "ann")
    await _talk(checkpointer, "nobodys", None)
    for source in ("anns", "nobodys"):
        await checkpointer.fork(source, f"{source}/fork", after_run_id="r")
    await checkpointer.fork("nobodys", "bobs", after_run_id="r", owner="bob")
    await checkpointer.fork("anns", "anns/2", after_run_id="r", owner="ann")
    with pytest.raises(ThreadOwnedError) as caught:
        await checkpointer.fork("anns", "bobs/2", after_run_id="r", owner="bob")
    assert caught.value.thread_id == "anns"
    assert await _owners(checkpointer) == {
        "anns": "ann",
        "anns/2": "ann",
        "anns/fork": "ann",
        "bobs": "bob",
        "nobodys": None,
        "nobodys/fork": None,
    }


async def test_stale_runs_of_an_owner(checkpointer: Checkpointer) -> None:
    await checkpointer.claim_run("a", "r", owner="ann")
    await checkpointer.claim_run("b", "r", owner="bob")
    await checkpointer.claim_run("c", "r")
    found = await checkpointer.stale_runs(timedelta(0), owner="ann")
    assert [run.thread_id for run in found] == ["a"]
    assert len(await checkpointer.stale_runs(timedelta(0))) == 3


async def test_threads_of_an_owner_and_waiting_ones(
    checkpointer: Checkpointer, database_url: str
) -> None:
    for number in range(7):
        owner = "ann" if number % 2 else "bob"
        await checkpointer.append(f"t{number}", [UserFactory()], owner=owner)
        second = f"UPDATE cubepi_threads SET updated_at = '2026-01-0{number // 2 + 1} 00:00:00'"
        await execute(database_url, f"{second} WHERE thread_id = 't{number}'")
    for number in (1, 2, 5):
        # Not by save_pending_request, which is activity.
        waits = "SET pending_request = '{}', updated_at = updated_at"
        await execute(database_url, f"UPDATE cubepi_threads {waits} WHERE thread_id = 't{number}'")

    async def pages(**options: Any) -> list[str]:
        found: list[Any] = []
        while page := await checkpointer.list_threads(
            after=found[-1] if found else None, limit=2, **options
        ):
            found += page
        assert {t.owner for t in found} <= {options.get("owner", t.owner) for t in found}
        return [t.thread_id + "?" * t.waiting for t in found]

    assert await pages(owner="ann") == ["t1?", "t3", "t5?"]
    assert await pages(owner="ann", order="recent") == ["t5?", "t3", "t1?"]
    assert await pages(owner="ann", waiting=True) == ["t1?", "t5?"]
    assert await pages(owner="ann", waiting=True, order="recent") == ["t5?", "t1?"]
    assert await pages(waiting=True) == ["t1?", "t2?", "t5?"]
    assert await pages(waiting=True, order="recent") == ["t5?", "t2?", "t1?"]
    assert await pages() == ["t0", "t1?", "t2?", "t3", "t4", "t5?", "t6"]
    assert await pages(owner="nobody") == []
    scoped = checkpointer.scoped("bob")
    assert [t.thread_id for t in await scoped.list_threads(waiting=True)] == ["t2"]


async def test_an_owner_that_is_no_key_is_refused(checkpointer: Checkpointer) -> None:
    for owner in ("", "a ", "x" * 256, "\0"):
        with pytest.raises(InvalidIdError, match="owner"):
            await checkpointer.save_extra("t", {}, owner=owner)
        with pytest.raises(InvalidIdError, match="owner"):
            await checkpointer.list_threads(owner=owner)
    assert await checkpointer.list_threads() == []


async def test_deleting_a_thread_deletes_its_owner(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", [UserFactory()], owner="ann")
    assert await checkpointer.delete_thread("t") is True
    await checkpointer.append("t", [UserFactory()])
    assert await _owners(checkpointer) == {"t": None}
    await checkpointer.append("t", [UserFactory()], owner="bob")
    assert await _owners(checkpointer) == {"t": "bob"}


def _conversation(thread_id: str) -> dict[str, Any]:
    return {"thread_id": thread_id, "messages": [{"role": "user", "content": "hi"}]}


async def test_importing_names_the_owner(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        one = parse_conversation(_conversation("a"), "line")
        assert await import_into(checkpointer, one, owner="ann") == 1
        assert await import_into(checkpointer, one, owner="ann") == 0
        with pytest.raises(ThreadOwnedError):
            await import_into(checkpointer, one, owner="bob")
        bobs = checkpointer.scoped("bob")
        with pytest.raises(ThreadOwnedError):
            await import_into(bobs, one)
        assert await import_into(bobs, parse_conversation(_conversation("b"), "line")) == 1
        assert await _owners(checkpointer) == {"a": "ann", "b": "bob"}


async def test_without_thread_control_owners_are_refused(sqlite_url: str) -> None:
    await ensure_schema(sqlite_url)
    engine = host_engine(sqlite_url)
    async with Checkpointer(engine=engine) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        scoped = checkpointer.scoped("ann")
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: checkpointer.save_extra("t", {}, owner="ann"),
            lambda: checkpointer.list_threads(owner="ann"),
            lambda: checkpointer.stale_runs(timedelta(0), owner="ann"),
            lambda: scoped.load("t"),
            lambda: scoped.delete_thread("t"),
            lambda: scoped.append("t", [UserFactory()]),
        ]
        for call in calls:
            with pytest.raises(CubepiSchemaUninitialized, match="--part control"):
                await call()
        (summary,) = await checkpointer.list_threads()
        assert (summary.thread_id, summary.owner, summary.waiting) == ("t", None, False)
    await engine.dispose()
