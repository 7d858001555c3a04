"""Owners that race for one thread, and threads that change their owner meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from sqlalchemy import Connection, text

from tests.support.databases import on_connection
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.seeds import FRESH
from threadlog import Checkpointer
from threadlog.errors import ThreadNotFoundError, ThreadOwnedError
from threadlog.messages import TextContent

# Locks: drivers and databases differ in them.
pytestmark = [pytest.mark.every_way, pytest.mark.whole_matrix]

OWNERS: Final = ("ann", "bob", "eve")

Write = Callable[[Any, str, str], Awaitable[Any]]


def _message(owner: str) -> Any:
    return UserFactory(content=[TextContent(text=owner)], run_id=None)


WRITES: Final[list[Write]] = [
    lambda log, t, owner: log.append(t, [_message(owner)], owner=owner),
    lambda log, t, owner: log.scoped(owner).append(t, [_message(owner)]),
    lambda log, t, owner: log.save_extra(t, {"owner": owner}, owner=owner),
    lambda log, t, owner: log.scoped(owner).save_extra(t, {"owner": owner}),
    lambda log, t, owner: log.claim_run(t, owner, owner=owner),
    lambda log, t, owner: log.scoped(owner).claim_run(t, owner),
    lambda log, t, owner: log.scoped(owner).save_hitl_answer(t, owner, 1),
    lambda log, t, owner: log.scoped(owner).save_pending_request(
        t, HitlRequestFactory(question_id=owner)
    ),
]


async def test_of_owners_that_race_for_one_thread_one_gets_it(
    checkpointer: Checkpointer, database_url: str
) -> None:
    chance = random.Random(FRESH)
    print(f"seed {FRESH}")
    expected: dict[str, str] = {}

    async def race(thread_id: str) -> None:
        writes = [(owner, chance.choice(WRITES)) for owner in OWNERS]
        tries = (write(checkpointer, thread_id, owner) for owner, write in writes)
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        refused = [isinstance(outcome, BaseException) for outcome in outcomes]
        assert refused.count(False) == 1, outcomes
        for outcome in outcomes:
            assert not isinstance(outcome, BaseException) or type(outcome) is ThreadOwnedError
        expected[thread_id] = OWNERS[refused.index(False)]

    for number in range(12):
        await race(f"t{number}")
    assert {t.thread_id: t.owner for t in await checkpointer.list_threads()} == expected
    for thread_id, owner in expected.items():
        data = await checkpointer.load(thread_id)
        assert data is not None
        assert {message.content[0].text for message in data.messages} <= {owner}  # type: ignore[union-attr]  # text
        assert data.extra in ({}, {"owner": owner})
        assert {run.run_id for run in await checkpointer.runs(thread_id)} <= {owner}

    def marked(connection: Connection) -> int:
        found = "SELECT COUNT(*) FROM cubepi_threads WHERE forked_at_seq IS NOT NULL"
        return int(connection.execute(text(found)).scalar_one())

    assert await on_connection(database_url, marked) == 0


async def test_a_scope_never_sees_nor_changes_a_thread_of_its_next_owner(
    checkpointer: Checkpointer,
) -> None:
    """The thread is deleted and created for another owner while the first one uses it."""
    chance = random.Random(FRESH)
    print(f"seed {FRESH}")
    is_over = asyncio.Event()
    anns = checkpointer.scoped("ann")

    async def use() -> int:
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: anns.append("t", [_message("ann")]),
            lambda: anns.save_extra("t", {"ann": 1}),
            lambda: anns.load("t"),
            lambda: anns.read("t"),
            lambda: anns.delete_thread("t"),
            lambda: anns.claim_run("t", f"ann {chance.random()}"),
            lambda: anns.clear_hitl_answers("t"),
            lambda: anns.save_pending_request("t", None),
        ]
        seen = 0
        while not is_over.is_set():
            try:
                found = await chance.choice(calls)()
            except (ThreadOwnedError, ThreadNotFoundError):
                continue
            messages = getattr(found, "messages", found if isinstance(found, list) else [])
            for each in messages:
                text_ = getattr(each, "message", each)
                if hasattr(text_, "content"):
                    assert text_.content[0].text == "ann"
                    seen += 1
        return seen

    async def give_to_bob() -> None:
        for _ in range(8):
            bobs = checkpointer.scoped("bob")
            await checkpointer.delete_thread("t")
            try:
                await bobs.save_hitl_answer("t", "q", 1)
                await bobs.append("t", [_message("bob")])
            except ThreadOwnedError:
                continue  # ann was faster
            await bobs.save_pending_request("t", HitlRequestFactory(question_id="bob"))
            await asyncio.sleep(0)
            data = await bobs.load("t")
            assert data is not None
            assert [message.content[0].text for message in data.messages] == ["bob"]  # type: ignore[union-attr]  # text
            assert data.extra == {}
            assert await bobs.runs("t") == []
            assert await bobs.load_hitl_answer("t", "q") == 1
            assert await bobs.load_pending("t") is not None
            await checkpointer.delete_thread("t")
            await asyncio.sleep(0)

    users = [asyncio.create_task(use()) for _ in range(3)]
    try:
        await give_to_bob()
    finally:
        is_over.set()
        print("messages seen:", sum(await asyncio.gather(*users)))
