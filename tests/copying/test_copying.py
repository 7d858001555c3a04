"""Copying from each database to each: whole, once, and whatever happens meanwhile."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Computed, Connection, MetaData, String, Table, insert

from tests.log.test_importing import assert_holds, lines, start_import
from tests.support.conversations import FILES, conversations
from tests.support.databases import execute, on_connection
from tests.support.ends import (
    ANSWERS,
    LONG_AGO,
    TABLES,
    Ends,
    add,
    change,
    fill,
    fill_alike,
    held_by,
    rows_of,
    said,
    say,
    source_rows,
)
from tests.support.factories import HitlRequestFactory
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.copying import paging
from threadlog.copying.copy import Copied, Fault, compare_databases, copy_database
from threadlog.models import HitlAnswer, Message, Run, Thread
from threadlog.models.dialects.transfer import transfer_table


async def copied(ends: Ends, **options: Any) -> Copied:
    """Copy the messages, without a fault."""
    (group,) = await copy_database(*ends, part="messages", **options)
    assert group.faults == []
    return group


async def faults(ends: Ends, **options: Any) -> list[Fault]:
    """Copy the messages; return the faults."""
    (group,) = await copy_database(*ends, part="messages", **options)
    return group.faults


def _text(message: Any) -> str:
    text: str = message.content[0].text
    return text


async def test_everything_arrives_as_it_is(every_ends: Ends) -> None:
    await fill(every_ends.source)
    before = await rows_of(every_ends.source)
    group = await copied(every_ends)
    assert (group.copied, group.unchanged) == (6, 0)
    assert group.rows == sum(map(len, before.values()))
    there = await rows_of(every_ends.target)
    assert there == held_by(every_ends.target, before)
    assert before["cubepi_threads"][("m",)]["created_at"] == LONG_AGO
    group = await copied(every_ends)
    assert (group.copied, group.rows, group.unchanged) == (0, 0, 6)
    assert await rows_of(every_ends.target) == there
    assert await rows_of(every_ends.source) == before


async def test_what_was_copied_is_used_as_before(ends: Ends) -> None:
    """The target goes on: order of recent threads, pages of it, appends, answers."""
    await fill(ends.source)
    await copied(ends)
    async with Checkpointer(ends.source) as source, Checkpointer(ends.target) as target:
        listed = [await end.list_threads(order="recent") for end in (source, target)]
        assert [t.thread_id for t in listed[0]] == [t.thread_id for t in listed[1]]
        for place, after in enumerate(listed[1]):
            behind = await target.list_threads(after=after, order="recent")
            assert behind == listed[1][place + 1 :]
        for thread_id in ("m", "M", "a"):
            assert await source.load(thread_id) == await target.load(thread_id)
        for question_id in ANSWERS:
            one = await source.load_hitl_answer("m", question_id, run_id="R")
            other = await target.load_hitl_answer("m", question_id, run_id="R")
            # 1 is not 1.0, but not every database keeps the order of keys.
            assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        await target.mark_run_complete("m", "R")
        await target.append("m", said("more"))
        assert [stored.seq for stored in await target.read("m")] == [1, 2, 3, 4]
        newest = await target.list_threads(limit=1, order="recent")
        assert [thread.thread_id for thread in newest] == ["m"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.processes
async def test_conversations_go_to_another_database_and_back(
    ends: Ends, tmp_path: Path, file: Path
) -> None:
    file = conversations(file, tmp_path)
    process = start_import(file, ends.source)
    process.communicate()
    assert process.returncode == 0
    group = await copied(ends)
    assert group.copied == len(lines(file))
    back = f"sqlite:///{tmp_path}/back.db"
    await copied(Ends(ends.target, back))
    assert await rows_of(back) == held_by(back, await rows_of(ends.source))
    await assert_holds(back, lines(file))
    (compared,) = await compare_databases(ends.source, back)
    assert (compared.unchanged, compared.faults) == (len(lines(file)), [])


async def test_what_went_on_in_the_source_is_brought_by_the_next_copy(ends: Ends) -> None:
    await fill(ends.source)
    await copied(ends)
    async with Checkpointer(ends.source) as source:
        await source.mark_run_complete("m", "R")
        await source.claim_run("m", "new")
        await source.save_pending_request("m", None)
        await source.clear_hitl_answers("m", run_id="R")
        await source.append("m", said("more"))
        await source.save_extra("m", {"went": "on"})
        await source.release_run("M", "R")
        await source.save_pending_request("M", HitlRequestFactory(), run_id="r")
        await source.append("new", said("first"))
        await source.save_hitl_answer("a", "new", 1)
    group = await copied(ends)
    assert (group.copied, group.unchanged) == (4, 3)
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_copy_after_a_write_in_the_same_second_brings_it(ends: Ends) -> None:
    """Times to the second suffice to know the later of two states."""
    await say(ends.source, "t", "a")
    for number in range(3):
        async with Checkpointer(ends.source) as source:
            await source.save_extra("t", {"number": number})
            await copied(ends)
            await source.save_extra("t", {"number": -number - 1})
        await copied(ends)
        assert await rows_of(ends.target) == await source_rows(ends)


async def test_a_thread_is_of_one_point_in_time(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows written while a thread is copied in pages are copied the next time."""
    monkeypatch.setattr(paging, "PAGE_ROWS", 3)
    await say(ends.source, "t", *"abcdefgh")
    async with Checkpointer(ends.source) as source:
        await source.claim_run("t", "r")
        before = await rows_of(ends.source)
        pages = 0

        def write(group: Copied, fault: Fault | None) -> None:
            nonlocal pages
            pages += 1
            with SyncCheckpointer(ends.source) as writer:
                writer.append("t", said("more"))
                writer.save_extra("t", {"pages": pages})
                if pages == 1:
                    writer.mark_run_complete("t", "r")

        group = await copied(ends, report=write)
    assert pages > 3
    assert group.copied == 1
    assert await rows_of(ends.target) == held_by(ends.target, before)
    await copied(ends)
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_copies_of_threads_in_use_are_prefixes_without_conflict(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each copy leaves beginnings of threads, with the extra of that time."""
    # A copy that stops waiting for a pause between two writes may cause a conflict in the next.
    monkeypatch.setattr("threadlog.copying.copy._WAITS", 1_000)

    async def write(numbers: range) -> None:
        async with Checkpointer(ends.source) as source:
            for number in numbers:
                for thread_id in "ab":
                    await source.append(thread_id, said(f"{number}"))
                    await source.save_extra(thread_id, {"number": number})

    await say(ends.source, "other", "a")
    for first in (1, 11, 21):
        await asyncio.gather(write(range(first, first + 10)), copied(ends))
        async with Checkpointer(ends.target) as target:
            for thread_id in "ab":
                data = await target.load(thread_id)
                if data is not None:
                    texts = [_text(message) for message in data.messages]
                    assert texts == [f"{number}" for number in range(1, len(texts) + 1)]
                    assert data.extra.get("number", 0) in {len(texts), len(texts) - 1}
    await copied(ends)
    assert await rows_of(ends.target) == await source_rows(ends)


@pytest.mark.parametrize("limit", ["rows", "bytes"])
async def test_long_threads_go_in_pages(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Pages are limited by rows and by bytes, and each is a transaction."""
    monkeypatch.setattr(paging, "PAGE_ROWS" if limit == "rows" else "PAGE_BYTES", 10)
    await say(ends.source, "t", *map(str, range(45)))
    async with Checkpointer(ends.source) as source:
        for number in range(25):
            await source.claim_run("t", f"r{number % 2}{number}")
            await source.save_hitl_answer("t", f"q{number}", number, run_id=f"r{number % 3}")
    seen: list[int] = []
    await copied(ends, report=lambda group, fault: seen.append(group.rows))
    assert await rows_of(ends.target) == await source_rows(ends)
    assert len(set(seen)) > 9
    assert (await copied(ends)).unchanged == 1


async def test_rows_that_are_larger_than_a_page_go_too(ends: Ends) -> None:
    await say(ends.source, "t", "a", "b" * 5_000_000, "c", "\0'\\" * 1_500_000, "d")
    await copied(ends)
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_rows_without_a_thread_go_too(
    sqlite_url: str, mysql_url: str, second_sqlite_url: str
) -> None:
    await say(sqlite_url, "t", "a")
    await add(sqlite_url, Message, thread_id="u", seq=2, role="user", payload=b"\xff", metadata={})
    await add(sqlite_url, Run, thread_id="v", run_id="r")
    await add(sqlite_url, HitlAnswer, thread_id="w", run_id="", question_id="q", answer=[1])
    for ends in (Ends(sqlite_url, mysql_url), Ends(mysql_url, second_sqlite_url)):
        assert (await copied(ends)).copied == 4
        assert await rows_of(ends.target) == await source_rows(ends)


async def test_times_of_an_sqlite_file_go_to_the_second(
    sqlite_url: str, mysql_url: str, second_sqlite_url: str
) -> None:
    """Fractions, which SQLAlchemy writes into such a file, are cut and not rounded."""
    await say(sqlite_url, "t", "a")
    late = "UPDATE cubepi_threads SET created_at = '2019-03-31 02:30:07.700000'"
    await execute(sqlite_url, late)
    for target in (mysql_url, second_sqlite_url):
        for expected in ((1, 0), (0, 1)):
            group = await copied(Ends(sqlite_url, target))
            assert (group.copied, group.unchanged) == expected
        thread = (await rows_of(target))["cubepi_threads"][("t",)]
        assert thread["created_at"] == LONG_AGO


async def test_more_threads_than_are_listed_at_once_go_too(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing is paged, and forgets nothing."""
    monkeypatch.setattr("threadlog.copying.copy._THREADS_AT_ONCE", 3)
    async with Checkpointer(ends.source) as source:
        for number in range(10):
            await source.save_extra(f"{number}", {"n": number})
    assert (await copied(ends)).copied == 10
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_only_the_named_threads_are_copied(ends: Ends) -> None:
    await fill(ends.source)
    group = await copied(ends, threads=["M", "m", "z"])
    assert group.copied == 3
    async with Checkpointer(ends.target) as target:
        assert {thread.thread_id for thread in await target.list_threads()} == {"M", "m", "z"}
    assert await faults(ends, threads=["M", "none", "Z"]) == [
        Fault("none", "missing", ["the source has no such thread"]),
        Fault("Z", "missing", ["the source has no such thread"]),
    ]


async def test_a_fork_without_its_parent_is_refused(ends: Ends) -> None:
    """Nothing of it is written, and what is said."""
    await fill(ends.source)
    expected = Fault("z", "failed", ["its parent 'm' is not in the target"])
    assert await faults(ends, threads=["z"]) == [expected]
    assert not any((await rows_of(ends.target)).values())


async def test_forks_of_forks_go_behind_their_parents(ends: Ends) -> None:
    await say(ends.source, "99", "a")
    async with Checkpointer(ends.source) as source:
        await source.claim_run("99", "r")
        await source.mark_run_complete("99", "r")
        for number in range(99, 60, -1):
            await source.fork(f"{number}", f"{number - 1}", after_run_id="r")
    group = await copied(ends)
    assert (group.copied, group.unchanged) == (40, 0)
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_a_thread_that_holds_something_else_is_left_as_it_is(ends: Ends) -> None:
    """Both conversations stay, and the others are copied."""
    await say(ends.source, "t", "a", "b")
    await say(ends.source, "u", "a")
    await say(ends.target, "t", "a", "c")
    await change(ends.target, Thread, ("t",), created_at=LONG_AGO)
    before = (await rows_of(ends.target))["cubepi_messages"]
    (fault,) = await faults(ends)
    assert (fault.thread_id, fault.kind) == ("t", "conflict")
    assert fault.reasons[0].startswith("cubepi_threads: created_at")
    assert fault.reasons[-1].startswith("cubepi_messages seq 2: payload")
    after = (await rows_of(ends.target))["cubepi_messages"]
    assert {key: row for key, row in after.items() if key[0] == "t"} == before
    assert ("u", 1) in after


async def test_a_thread_that_went_on_in_the_target_is_left_as_it_is(ends: Ends) -> None:
    """The target is not an earlier version, even if both databases were appended to."""
    await say(ends.source, "t", "a")
    await copied(ends)
    await say(ends.target, "t", "there")
    before = await rows_of(ends.target)
    for _ in range(2):
        (fault,) = await faults(ends)
        assert fault.kind == "conflict"
        assert await rows_of(ends.target) == before
        await say(ends.source, "t", "here")


# What is changed in a thread of its own, and how the difference is named.
EDITS: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (Message, (2,), {"payload": None}, "cubepi_messages seq 2: payload differs"),
    (Message, (3,), {"metadata": {"x": 1}}, "cubepi_messages seq 3: metadata differs"),
    (Message, (2,), {"role": "tool"}, "cubepi_messages seq 2: role differs"),
    (Message, (2,), {"run_id": None}, "cubepi_messages seq 2: run_id differs"),
    (Message, (4,), {"created_at": 5}, "cubepi_messages seq 4: created_at differs"),
    (Thread, (), {"extra": {"x": True}}, "cubepi_threads: extra differs"),
    (Thread, (), {"forked_at_seq": 2}, "cubepi_threads: forked_at_seq differs"),
    (Thread, (), {"pending_request": None}, "cubepi_threads: pending_request differs"),
    (Thread, (), {"updated_at": LONG_AGO + 9}, "cubepi_threads: updated_at differs"),
    (Run, ("R",), {"completion_seq": 7}, "cubepi_runs run_id 'R': completion_seq differs"),
    (
        HitlAnswer,
        ("R", "q"),
        {"answer": 2**64 - 2},
        "cubepi_hitl_answers run_id 'R', question_id 'q': answer differs",
    ),
]


async def test_difference_of_each_column_is_reported_and_kept(ends: Ends) -> None:
    """Comparing can fail, for each column, and copying is no remedy."""
    edits = {f"{number:02}": edit for number, edit in enumerate(EDITS)}
    await fill_alike(ends.source, [*edits, "same"])
    await copied(ends)
    messages = (await rows_of(ends.target))[Message.__tablename__]
    for thread_id, (model, key, edit, _) in edits.items():
        values = edit
        if "payload" in values:
            payload = messages[thread_id, *key]["payload"]
            values = {"payload": payload[:-1] + bytes([payload[-1] ^ 1])}
        await change(ends.target, model, (thread_id, *key), **values)
    before = await rows_of(ends.target)
    (compared,) = await compare_databases(*ends, part="messages")
    found = {thread_id: [words] for thread_id, (*_, words) in edits.items()}
    assert compared.faults == [Fault(one, "different", found[one]) for one in edits]
    assert compared.unchanged == 2
    assert await faults(ends) == [Fault(one, "conflict", found[one]) for one in edits]
    assert await rows_of(ends.target) == before


async def test_rows_on_one_side_are_named(ends: Ends) -> None:
    await fill(ends.source)
    await say(ends.source, "m", *map(str, range(20)))
    await copied(ends)
    await execute(
        ends.target,
        "DELETE FROM cubepi_messages WHERE thread_id = 'm' AND seq > 3",
        "DELETE FROM cubepi_runs WHERE thread_id = 'M' AND run_id = 'R'",
    )
    await add(ends.target, Run, thread_id="a", run_id="x")
    (compared,) = await compare_databases(*ends)
    found = {fault.thread_id: fault.reasons for fault in compared.faults}
    assert found == {
        "M": ["cubepi_runs run_id 'R' is not in the target"],
        "a": ["cubepi_runs run_id 'x' is only in the target"],
        "m": [
            *(f"cubepi_messages seq {seq} is not in the target" for seq in range(4, 9)),
            "and 15 rows more",
        ],
    }


async def test_what_the_target_alone_has_does_not_matter(ends: Ends) -> None:
    """Two logs can go into one."""
    await say(ends.source, "t", "a")
    await say(ends.target, "u", "b")
    assert (await copied(ends)).copied == 1
    (compared,) = await compare_databases(*ends)
    assert (compared.unchanged, compared.faults) == (1, [])


async def test_comparing_writes_nothing(ends: Ends) -> None:
    """Missing rows stay missing."""
    await say(ends.source, "t", "a")
    await say(ends.target, "u", "b")
    before = await rows_of(ends.target)
    (compared,) = await compare_databases(*ends)
    assert [(fault.thread_id, fault.kind) for fault in compared.faults] == [("t", "different")]
    assert await rows_of(ends.target) == before


async def test_two_copies_at_the_same_time_double_nothing(ends: Ends) -> None:
    """Each finds what the other wrote."""
    await fill(ends.source)
    await asyncio.gather(*(faults(ends) for _ in range(3)))
    assert (await copied(ends)).unchanged == 6
    assert await rows_of(ends.target) == await source_rows(ends)


async def test_a_column_that_a_host_added_for_metadata_is_left_to_the_database(
    sqlite_url: str, mysql_url: str
) -> None:
    """Columns that the database computes are not written."""
    await fill(sqlite_url)
    for url in (sqlite_url, mysql_url):
        await execute(
            url,
            "ALTER TABLE cubepi_messages ADD COLUMN by_whom VARCHAR(20) "
            "GENERATED ALWAYS AS (json_extract(metadata, '$.by')) VIRTUAL",
        )
    ends = Ends(sqlite_url, mysql_url)
    await copied(ends)
    assert await rows_of(ends.target) == await source_rows(ends)
    known = Column("thread_id", String, primary_key=True), Column("c", String, Computed("1"))
    assert transfer_table(Table("of_a_host", MetaData(), *known)).columns.keys() == ["thread_id"]


def _insert_nan(connection: Connection) -> None:
    statement = insert(TABLES[Thread]).values(thread_id="nan", extra={"n": float("nan")})
    connection.execute(statement)


async def test_what_the_target_refuses_hinders_no_other_thread(
    sqlite_url: str, mysql_url: str
) -> None:
    ends = Ends(sqlite_url, mysql_url)
    await fill(ends.source)
    await on_connection(ends.source, _insert_nan)
    (fault,) = await faults(ends)
    assert (fault.thread_id, fault.kind) == ("nan", "failed")
    assert fault.reasons[0].startswith("the target refused a row: 3140")
    assert (await compare_databases(*ends))[0].unchanged == 6


async def test_a_row_that_is_too_large_for_the_target_hinders_no_other_thread(
    sqlite_url: str, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is raised before the server sees the thread."""
    monkeypatch.setattr(
        "threadlog.databases.mysql.database.MySQLBackend.statement_limit", lambda *_: 9_000
    )
    await say(sqlite_url, "large", "a", "b" * 9_000)
    await say(sqlite_url, "small", *("c" * 1_000 for _ in range(30)))
    (fault,) = await faults(Ends(sqlite_url, mysql_url))
    assert (fault.thread_id, fault.kind) == ("large", "failed")
    assert "the row of cubepi_messages seq 2 needs " in fault.reasons[0]
    assert "the target's limit is 9,000" in fault.reasons[0]
    assert ("small", 30) in (await rows_of(mysql_url))["cubepi_messages"]
