"""Conditional appends: the expected end of the thread, and keys that make a call idempotent."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.util import await_only

from tests.support.commits import lost_commits
from tests.support.counting import StatementCount
from tests.support.databases import engine_for, engines_of, sent_by
from tests.support.processes import run_at_once
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.errors import (
    AppendKeyReusedError,
    CubepiSchemaUninitialized,
    DeadlockError,
    InvalidIdError,
    InvalidInputError,
    ThreadChangedError,
)
from threadlog.messages import Message, TextContent, UserMessage

CALLERS: Final = 8


def said(*names: str) -> list[Message]:
    """Create messages with these texts."""
    return [UserMessage(content=[TextContent(text=name)]) for name in names]


async def seqs(checkpointer: Checkpointer, thread_id: str = "t") -> list[int]:
    """Return the seqs of a thread's messages."""
    return [stored.seq for stored in await checkpointer.read(thread_id)]


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


# --- if_last_seq -------------------------------------------------------------------


@pytest.mark.every_way
async def test_append_at_the_expected_end_is_stored_and_elsewhere_refused(
    checkpointer: Checkpointer,
) -> None:
    assert await checkpointer.append("t", said("a", "b"), if_last_seq=0) == [1, 2]
    with pytest.raises(ThreadChangedError) as caught:
        await checkpointer.append("t", said("c"), if_last_seq=1)
    error = caught.value
    assert (error.thread_id, error.expected, error.actual) == ("t", 1, 2)
    assert await checkpointer.append("t", said("c"), if_last_seq=2) == [3]
    await checkpointer.truncate("t", after_seq=1)
    with pytest.raises(ThreadChangedError):
        await checkpointer.append("t", said("d"), if_last_seq=3)
    assert await checkpointer.append("t", said("d"), if_last_seq=1) == [4]
    with pytest.raises(ThreadChangedError):
        await checkpointer.append("unknown", said("a"), if_last_seq=1)
    assert await seqs(checkpointer, "unknown") == []


@pytest.mark.one_database
@pytest.mark.parametrize("bad", [-1, "0", True, 1.5])
async def test_an_expected_end_that_is_no_seq_is_refused(
    checkpointer: Checkpointer, bad: Any
) -> None:
    with pytest.raises(InvalidInputError, match="if_last_seq"):
        await checkpointer.append("t", said("a"), if_last_seq=bad)


@pytest.mark.every_way
async def test_of_callers_with_one_expected_end_exactly_one_appends(
    checkpointer: Checkpointer,
) -> None:
    end = 0
    for number in range(10):
        calls = [
            checkpointer.append("t", said(f"{number} {n}", "more")[: 1 + n % 2], if_last_seq=end)
            for n in range(CALLERS)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        (won,) = (outcome for outcome in outcomes if isinstance(outcome, list))
        faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(fault) for fault in faults] == [ThreadChangedError] * (CALLERS - 1)
        assert won[0] == end + 1
        end = won[-1]
    assert await seqs(checkpointer) == list(range(1, end + 1))


async def test_an_expected_end_beside_ordinary_appends_loses_nothing(database_url: str) -> None:
    """Each stored conditional append directly follows the message that it expected."""
    async with Checkpointer(database_url) as checkpointer:
        refused = 0

        async def ordinary(name: str) -> None:
            for number in range(30):
                await checkpointer.append("t", said(f"{name} {number}"))

        async def careful(name: str) -> None:
            nonlocal refused
            left = 15
            while left:
                newest = await checkpointer.read("t", before_seq=2**63 - 1, limit=1)
                end = newest[0].seq if newest else 0
                try:
                    got = await checkpointer.append(
                        "t", said(f"{name} after {end}"), if_last_seq=end
                    )
                except ThreadChangedError:
                    refused += 1
                    await asyncio.sleep(0)
                else:
                    assert got == [end + 1]
                    left -= 1

        await asyncio.gather(ordinary("a"), ordinary("b"), careful("c"), careful("d"))
        print(f"{refused} conditional appends refused")
        stored = await checkpointer.read("t")
    assert [s.seq for s in stored] == list(range(1, 91))
    for s in stored:
        split = s.message.content[0].text.split(" after ")  # type: ignore[union-attr]  # text
        assert len(split) == 1 or int(split[1]) == s.seq - 1


# --- key ---------------------------------------------------------------------------


@pytest.mark.every_way
async def test_an_append_repeated_with_its_key_is_stored_once(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", said("before"))
    assert await checkpointer.append("t", said("a", "b"), key="k") == [2, 3]
    await checkpointer.append("t", said("after"))
    assert await checkpointer.append("t", said("a", "b"), key="k") == [2, 3]
    assert await checkpointer.append("t", said("a", "b"), key="K") == [5, 6]
    assert await checkpointer.append("u", said("a", "b"), key="k") == [1, 2]
    assert await checkpointer.append("t", said("a", "b"), key="k", if_last_seq=1) == [2, 3]
    assert await seqs(checkpointer) == [1, 2, 3, 4, 5, 6]


@pytest.mark.every_way
async def test_a_key_with_other_messages_is_refused(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", said("a", "b"), key="k")
    for other in (said("a", "c"), said("a"), said("a", "b", "c"), said("b", "a")):
        with pytest.raises(AppendKeyReusedError) as caught:
            await checkpointer.append("t", other, key="k")
        assert (caught.value.thread_id, caught.value.key) == ("t", "k")
    other_run = said("a", "b")
    other_run[1].run_id = "r"
    with pytest.raises(AppendKeyReusedError):
        await checkpointer.append("t", other_run, key="k")
    assert await seqs(checkpointer) == [1, 2]


@pytest.mark.every_way
async def test_a_key_of_truncated_messages_stores_nothing(checkpointer: Checkpointer) -> None:
    await checkpointer.append("t", said("a", "b"), key="k")
    await checkpointer.append("t", said("c"))
    await checkpointer.truncate("t", after_seq=1)
    await checkpointer.append("t", said("d"))
    assert await checkpointer.append("t", said("a", "b"), key="k") == [1, 2]
    with pytest.raises(AppendKeyReusedError):  # the first message is still there
        await checkpointer.append("t", said("x", "b"), key="k")
    await checkpointer.truncate("t", after_seq=0)
    assert await checkpointer.append("t", said("a", "b"), key="k") == [1, 2]
    assert await seqs(checkpointer) == []


@pytest.mark.every_way
async def test_a_refused_append_leaves_no_key(checkpointer: Checkpointer) -> None:
    with pytest.raises(ThreadChangedError):
        await checkpointer.append("t", said("a"), key="k", if_last_seq=7)
    assert await checkpointer.append("t", said("b"), key="k") == [1]


@pytest.mark.one_database
@pytest.mark.parametrize("bad", ["", "x" * 256, 5, "a\0", "\ud800"])
async def test_a_key_that_is_none_is_refused(checkpointer: Checkpointer, bad: Any) -> None:
    with pytest.raises(InvalidIdError, match="key"):
        await checkpointer.append("t", said("a"), key=bad)


async def test_a_key_without_thread_control_is_refused(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        checkpointer.client.facts = type(checkpointer.client.facts)(1_000_000, has_control=False)
        with pytest.raises(CubepiSchemaUninitialized):
            await checkpointer.append("t", said("a"), key="k")
        assert await checkpointer.append("t", said("a"), if_last_seq=0) == [1]


@pytest.mark.every_way
@pytest.mark.whole_matrix
async def test_eight_callers_with_one_key_store_once(checkpointer: Checkpointer) -> None:
    """Of a new thread and of one that exists, and all get the same seqs."""
    for number in range(10):
        calls = [
            checkpointer.append("t", said("a", f"{number}"), key=f"k{number}")
            for _ in range(CALLERS)
        ]
        assert await asyncio.gather(*calls) == [[2 * number + 1, 2 * number + 2]] * CALLERS
    assert await seqs(checkpointer) == list(range(1, 21))


CALL = """
import asyncio, json, sys
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage

async def main(url, rounds):
    async with Checkpointer(url) as checkpointer:
        print("ready", flush=True)
        sys.stdin.readline()
        got = []
        for n in range(rounds):
            message = UserMessage(content=[TextContent(text=f"request {n}")])
            got.append(await checkpointer.append(f"t{n % 3}", [message], key=f"request {n}"))
        print(json.dumps(got), flush=True)

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@pytest.mark.processes
async def test_eight_processes_with_the_same_keys_store_once(database_url: str) -> None:
    rounds = 30
    arguments = json.dumps([database_url, rounds])
    ended = await asyncio.to_thread(run_at_once, [("-c", CALL, arguments)] * CALLERS)
    returned = [json.loads(out) for out in ended]
    assert returned == [returned[0]] * CALLERS
    async with Checkpointer(database_url) as checkpointer:
        for thread in range(3):
            assert await seqs(checkpointer, f"t{thread}") == list(range(1, rounds // 3 + 1))
    print(f"{CALLERS} processes, {rounds} keys: {rounds} messages")


@pytest.mark.parametrize("arrives", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("number", [1, 2])
async def test_an_append_whose_commit_was_lost_returns_its_seqs(
    server_url: str, other: AsyncConnection, *, arrives: bool, number: int
) -> None:
    """An ordinary one, with a key, and one whose expected end is past by its own messages."""
    conditions: list[dict[str, Any]] = [{}, {"key": "k"}, {"if_last_seq": 1}]
    async with Checkpointer(server_url) as checkpointer:
        for place, given in enumerate(conditions):
            await checkpointer.append(f"t{place}", said("first"))
            messages = said("a", "b")[:number]
            engine = engines_of(checkpointer)[0]
            with lost_commits(engine, other, arrives=arrives) as killed:
                got = await checkpointer.append(f"t{place}", messages, **given)
            assert len(killed) == 1
            assert got == [2, 3][:number]
            assert await seqs(checkpointer, f"t{place}") == [1, *got]
            if "key" in given:
                assert await checkpointer.append(f"t{place}", messages, **given) == got


async def test_an_expected_end_that_others_passed_during_a_lost_commit_is_refused(
    server_url: str, other: AsyncConnection
) -> None:
    async with Checkpointer(server_url) as checkpointer, Checkpointer(server_url) as another:
        await checkpointer.append("t", said("first"))

        def append() -> None:
            assert await_only(another.append("t", said("x"))) == [2]

        engine = engines_of(checkpointer)[0]
        with (
            lost_commits(engine, other, arrives=False, then=append),
            pytest.raises(ThreadChangedError),
        ):
            await checkpointer.append("t", said("a"), if_last_seq=1)
        assert await seqs(checkpointer) == [1, 2]


async def test_eight_callers_with_one_key_and_lost_commits_store_once(
    server_url: str, other: AsyncConnection
) -> None:
    killed_in_all = 0
    async with Checkpointer(server_url, max_pool_size=CALLERS) as checkpointer:
        for number in range(6):
            engine = engines_of(checkpointer)[0]
            calls = [
                checkpointer.append("t", said("a", f"{number}"), key=f"k{number}")
                for _ in range(CALLERS)
            ]
            with lost_commits(engine, other, arrives=bool(number % 2), times=3) as killed:
                got = await asyncio.gather(*calls)
            assert got == [[2 * number + 1, 2 * number + 2]] * CALLERS
            killed_in_all += len(killed)
        assert await seqs(checkpointer) == list(range(1, 13))
    print(f"{killed_in_all} COMMITs lost")
    assert killed_in_all >= 6


async def test_a_key_is_seen_behind_an_old_snapshot(server_name: str, server_url: str) -> None:
    """At REPEATABLE READ the session gets the other's seqs, or is to be run again."""
    hosts = host_engine(server_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(engine=hosts) as own, Checkpointer(server_url) as other:
        await own.append("t", said("first"))
        async with AsyncSession(hosts) as session:
            await own.bind(session).load("t")
            assert await other.append("t", said("a"), key="k") == [2]
            try:
                assert await own.bind(session).append("t", said("a"), key="k") == [2]
            except DeadlockError:
                assert server_name != "mysql"
            await session.rollback()
        assert await own.append("t", said("a"), key="k") == [2]
        assert await seqs(other) == [1, 2]
    await hosts.dispose()


async def test_a_key_behind_an_old_snapshot_is_refused_for_other_messages(
    server_name: str, server_url: str
) -> None:
    """At REPEATABLE READ the messages of the key are compared, though the snapshot has none."""
    hosts = host_engine(server_url, isolation_level="REPEATABLE READ")
    async with Checkpointer(engine=hosts) as own, Checkpointer(server_url) as other:
        await own.append("t", said("first"))
        async with AsyncSession(hosts) as session:
            await own.bind(session).load("t")
            assert await other.append("t", said("a"), key="k") == [2]
            with pytest.raises((AppendKeyReusedError, DeadlockError)) as caught:
                await own.bind(session).append("t", said("b"), key="k")
            assert caught.type is AppendKeyReusedError or server_name != "mysql"
            await session.rollback()
    await hosts.dispose()


# --- Statements --------------------------------------------------------------------


async def test_conditional_appends_send_few_statements(
    server_url: str, count: StatementCount
) -> None:
    """The end and the key are read by the statement that locks; a key is one INSERT more."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", said("a"))
        numbers = iter(range(100))
        end = 1

        async def at_end() -> None:
            nonlocal end
            (end,) = await checkpointer.append("t", said("a"), if_last_seq=end)

        async def with_key() -> None:
            await checkpointer.append("t", said("a"), key=f"k{next(numbers)}")

        async def again() -> None:
            await checkpointer.append("t", said("a"), key="k0")

        plain = count.figure(2, mariadb=3, postgresql=3)
        assert await count.of(lambda: checkpointer.append("t", said("a"))) == plain
        end += 3
        # lock and read, insert, commit; PostgreSQL begins, and locks before it reads
        assert await count.of(at_end) == count.figure(3, postgresql=5)
        assert await count.of(with_key) == count.figure(4, postgresql=6)
        # lock and read, compare, end
        assert await count.of(again) == count.figure(3, postgresql=5)


async def test_the_condition_is_read_by_the_statement_that_locks(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", said("a"))
        sent = sent_by(checkpointer)
        await checkpointer.append("t", said("b"), if_last_seq=1, key="k")
    sent = [statement for statement in sent if not statement.startswith(("BEGIN", "UPDATE"))]
    verbs = [statement.split()[0] for statement in sent]
    locks = ["SELECT", "SELECT"] if database_url.startswith("postgresql") else ["SELECT"]
    assert verbs == [*locks, "INSERT", "INSERT"]
