"""What is pruned, and what is left out: the same on every database, so tested on SQLite."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from tests.retention.helpers import AGE, age, ask, fill, messages, payloads, rows
from tests.search.helpers import assert_complete
from tests.support.databases import execute
from threadlog import Checkpointer, PruneSummary, SyncCheckpointer
from threadlog.errors import InvalidIdError, InvalidInputError
from threadlog.log import retention


async def listed(log: Checkpointer) -> list[str]:
    """Return the ids of all threads."""
    return [thread.thread_id for thread in await log.list_threads()]


async def test_age_is_that_of_the_last_write(sqlite_log: Checkpointer, sqlite_url: str) -> None:
    await sqlite_log.append("old", messages("u"))
    await sqlite_log.append("revived", messages("u"))
    await age(sqlite_url, days=60)
    await sqlite_log.append("revived", messages("u"))
    await sqlite_log.append("new", messages("u"))
    await age(sqlite_url, days=31)
    assert await sqlite_log.prune_older_than(timedelta(days=92)) == PruneSummary()
    assert (await sqlite_log.prune_older_than(AGE)).threads == 1
    assert await listed(sqlite_log) == ["new", "revived"]
    assert len(await sqlite_log.read("revived")) == 2
    assert (await sqlite_log.prune_older_than(timedelta.max)) == PruneSummary()


async def test_thread_of_the_future_is_not_old(sqlite_log: Checkpointer, sqlite_url: str) -> None:
    await sqlite_log.append("t", messages("u"))
    await execute(sqlite_url, "UPDATE cubepi_threads SET updated_at = '2999-01-01 00:00:00'")
    assert await sqlite_log.prune_older_than(timedelta(0)) == PruneSummary()


@pytest.mark.parametrize("keep_last", [None, 1])
async def test_dry_run_counts_what_goes_and_changes_nothing(
    sqlite_log: Checkpointer, sqlite_url: str, keep_last: int | None
) -> None:
    for name in ("a", "b"):
        await fill(sqlite_log, name)
    await sqlite_log.save_extra("empty", {"a": 1})
    await sqlite_log.fork("b", "fork of b", at_seq=4)
    await sqlite_log.claim_run("open", "r")
    await sqlite_log.append("open", messages("uaua"))
    await age(sqlite_url)
    await sqlite_log.append("new", messages("ua"))
    before = await rows(sqlite_url)
    dry = await sqlite_log.prune_older_than(AGE, keep_last=keep_last, dry_run=True)
    assert await rows(sqlite_url) == before
    assert await sqlite_log.prune_older_than(AGE, keep_last=keep_last) == dry
    assert (dry.with_open_runs, dry.in_use, dry.referenced) == (1, 0, 0)
    assert dry.messages > 0
    again = await sqlite_log.prune_older_than(AGE, keep_last=keep_last)
    assert again == replace(PruneSummary(), with_open_runs=1, with_forks=dry.with_forks)


KEPT: Final = {
    ("ucrauaua", 1): "ua",
    ("ucrauaua", 2): "ua",
    ("ucrauaua", 3): "uaua",
    ("uauacra", 1): "uacra",
    ("ucra", 3): "ucra",
    ("ucra", 4): "ucra",
    ("uuu", 2): "uu",
    ("auau", 9): "auau",
    ("aaaa", 1): "aaaa",
    ("ua", 2**40): "ua",
}


@pytest.mark.parametrize(("roles", "keep_last"), KEPT)
async def test_keep_last_cuts_before_a_user_message(
    sqlite_log: Checkpointer, sqlite_url: str, roles: str, keep_last: int
) -> None:
    await sqlite_log.append("t", messages(roles))
    await age(sqlite_url)
    loaded = await sqlite_log.load("t", last=keep_last, whole_turns=True)
    before = await rows(sqlite_url)
    kept = KEPT[roles, keep_last]
    gone = len(roles) - len(kept)
    found = await sqlite_log.prune_older_than(AGE, keep_last=keep_last)
    size = payloads(before, "t", before_seq=gone + 1)
    assert found == PruneSummary(threads=min(gone, 1), messages=gone, bytes=size)
    after = await rows(sqlite_url)
    assert after["cubepi_threads"] == before["cubepi_threads"]
    assert after["cubepi_messages"] == before["cubepi_messages"][gone:]
    await assert_complete(sqlite_url, rows=len(after["threadlog_search"]))
    assert await sqlite_log.load("t") == loaded
    assert await sqlite_log.append("t", messages("u")) == [len(roles) + 1]


async def _fork(log: Checkpointer) -> None:
    await log.fork("t", "fork", at_seq=2)


REASONS: Final[dict[str, Callable[[Checkpointer], Awaitable[Any]]]] = {
    "with_forks": _fork,
    "with_open_runs": lambda log: log.claim_run("t", "r"),
    "with_questions": lambda log: ask(log, "t"),
}
_IGNORE: Final = {reason: reason.replace("with", "ignore") for reason in REASONS}


@pytest.mark.parametrize("keep_last", [None, 1])
@pytest.mark.parametrize("reason", REASONS)
async def test_reason_leaves_a_thread_out_unless_it_is_ignored(
    sqlite_log: Checkpointer, sqlite_url: str, reason: str, keep_last: int | None
) -> None:
    await sqlite_log.append("t", messages("uaua"))
    await sqlite_log.append("u", messages("u"))
    await age(sqlite_url, days=50)
    await REASONS[reason](sqlite_log)
    await sqlite_log.append("short", messages("u"))
    await age(sqlite_url, days=50)
    if reason == "with_forks":  # it is not old
        await sqlite_log.append("fork", messages("u"))
    before = await rows(sqlite_url)
    forty = timedelta(days=40)
    others = {name: True for each, name in _IGNORE.items() if each != reason}
    found = await sqlite_log.prune_older_than(forty, keep_last=keep_last, **others)  # type: ignore[arg-type]  # names of options
    assert {each: getattr(found, each) for each in REASONS} == {
        each: int(each == reason) for each in REASONS
    }
    assert found.messages == (2 if keep_last is None else 0)
    left = await rows(sqlite_url)
    assert [row for row in left["cubepi_messages"] if row["thread_id"] == "t"] == [
        row for row in before["cubepi_messages"] if row["thread_id"] == "t"
    ]
    ignoring: dict[str, Any] = {_IGNORE[reason]: True}
    dry = await sqlite_log.prune_older_than(forty, keep_last=keep_last, dry_run=True, **ignoring)
    done = await sqlite_log.prune_older_than(forty, keep_last=keep_last, **ignoring)
    assert done == dry
    assert (done.threads, done.messages) == (1, 4 if keep_last is None else 2)
    assert ("t" in await listed(sqlite_log)) is (keep_last is not None)


async def test_fork_keeps_its_messages_and_its_time(
    sqlite_log: Checkpointer, sqlite_url: str
) -> None:
    await sqlite_log.append("t", messages("uaua"))
    await age(sqlite_url)
    await sqlite_log.fork("t", "fork", at_seq=2)
    await age(sqlite_url, days=10)
    (before,) = [t for t in await sqlite_log.list_threads() if t.thread_id == "fork"]
    assert (await sqlite_log.prune_older_than(AGE, ignore_forks=True)).threads == 1
    assert await sqlite_log.list_threads() == [
        replace(before, parent_thread_id=None, forked_at_seq=None)
    ]
    assert len(await sqlite_log.read("fork")) == 2


async def test_thread_goes_with_its_forks(sqlite_log: Checkpointer, sqlite_url: str) -> None:
    """Younger ones first, as a dry run foresees."""
    await sqlite_log.append("t", messages("ua"))
    await age(sqlite_url, days=1)
    await sqlite_log.fork("t", "f", at_seq=2)
    await sqlite_log.append("f", messages("u"))
    await age(sqlite_url, days=1)
    await sqlite_log.fork("f", "f of f", at_seq=3)
    await age(sqlite_url)
    dry = await sqlite_log.prune_older_than(AGE, dry_run=True)
    assert dry == await sqlite_log.prune_older_than(AGE)
    assert (dry.threads, dry.messages) == (3, 8)


async def test_thread_is_counted_by_its_first_reason(
    sqlite_log: Checkpointer, sqlite_url: str
) -> None:
    await sqlite_log.append("t", messages("uaua"))
    await sqlite_log.claim_run("t", "r")
    await ask(sqlite_log, "t")
    await sqlite_log.append("s", messages("u"))
    await sqlite_log.claim_run("s", "r")
    await age(sqlite_url)
    found = await sqlite_log.prune_older_than(AGE)
    assert found == PruneSummary(with_open_runs=2)
    found = await sqlite_log.prune_older_than(AGE, ignore_open_runs=True, dry_run=True)
    assert (found.threads, found.with_questions) == (1, 1)


async def test_owners_threads_are_pruned_and_no_others(
    sqlite_log: Checkpointer, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_THREADS", 2)
    for number in range(7):
        await sqlite_log.append(f"t{number}", messages("ua"), owner=f"o{number % 2}")
    await sqlite_log.append("nobody's", messages("ua"))
    await age(sqlite_url)
    await sqlite_log.append("t2", messages("u"))
    await sqlite_log.append("t4", messages("u"))
    dry = await sqlite_log.prune_older_than(AGE, owner="o0", dry_run=True)
    assert await sqlite_log.prune_older_than(AGE, owner="o0") == dry
    assert dry.threads == 2
    assert await listed(sqlite_log) == ["nobody's", "t1", "t2", "t3", "t4", "t5"]
    assert await sqlite_log.prune_older_than(AGE, owner="unknown") == PruneSummary()


async def test_many_pages_are_pruned(
    sqlite_log: Checkpointer, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_THREADS", 3)
    for number in range(20):
        await sqlite_log.append(f"t{number}", messages("uau"))
    await age(sqlite_url)
    kept = await sqlite_log.prune_older_than(AGE, keep_last=1)
    assert (kept.threads, kept.messages) == (20, 40)
    assert (await sqlite_log.prune_older_than(AGE)).threads == 20


def test_method_without_asyncio_does_the_same(sqlite_url: str) -> None:
    with SyncCheckpointer(sqlite_url) as log:
        log.append("t", messages("uaua"))
        asyncio.run(age(sqlite_url))
        dry = log.prune_older_than(AGE, keep_last=1, dry_run=True)
        assert (dry.threads, dry.messages) == (1, 2)
        assert log.prune_older_than(AGE, keep_last=1) == dry
        assert [stored.seq for stored in log.read("t")] == [3, 4]
        assert log.prune_older_than(AGE).messages == 2
        assert log.list_threads() == []


async def test_text_that_is_no_time_ends_the_run(sqlite_log: Checkpointer, sqlite_url: str) -> None:
    await sqlite_log.append("t", messages("u"))
    await execute(sqlite_url, "UPDATE cubepi_threads SET updated_at = '2020-01-01'")
    assert (await sqlite_log.prune_older_than(AGE, keep_last=1)) == PruneSummary()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"age": 90}, InvalidInputError),
        ({"age": timedelta(seconds=-1)}, InvalidInputError),
        ({"age": AGE, "keep_last": 0}, InvalidInputError),
        ({"age": AGE, "keep_last": True}, InvalidInputError),
        ({"age": AGE, "owner": ""}, InvalidIdError),
    ],
)
async def test_wrong_arguments_are_refused(
    sqlite_log: Checkpointer, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await sqlite_log.prune_older_than(**arguments)
