"""``threadlog prune --messages``, as people and programs see it."""

import asyncio
import json
import re
from typing import Any

import pytest

from tests.cli.helpers import ask, claim, threadlog
from tests.retention.helpers import age, messages
from tests.support.databases import execute
from threadlog import Checkpointer
from threadlog.langgraph import Saver
from threadlog.models import CONTROL

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def fill(url: str, *threads: str, **options: Any) -> None:
    """Store threads of two turns, last written to a hundred days ago."""

    async def work() -> None:
        async with Checkpointer(url) as checkpointer:
            for thread_id in threads:
                await checkpointer.append(thread_id, messages("uaua"), **options)
        await age(url)

    asyncio.run(work())


def listed(url: str) -> dict[str, int]:
    """Return the numbers of messages by thread."""

    async def work() -> dict[str, int]:
        async with Checkpointer(url) as checkpointer:
            threads = await checkpointer.list_threads()
            return {t.thread_id: len(await checkpointer.read(t.thread_id)) for t in threads}

    return asyncio.run(work())


def test_prints_what_it_would_delete_and_then_what_it_did(database_url: str) -> None:
    fill(database_url, "a", "b")
    command = ["prune", database_url, "--older-than", "90d", "--messages"]
    dry = threadlog(*command, "--dry-run")
    assert re.fullmatch(
        r"8 messages of 2 threads \([1-9][\d,]* bytes\) would be deleted. Nothing was deleted.\n",
        dry.stdout,
    )
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert listed(database_url) == {"a": 4, "b": 4}
    kept = threadlog(*command, "--keep-last", "2")
    assert re.fullmatch(r"4 messages of 2 threads \([\d,]+ bytes\) deleted.\n", kept.stdout)
    assert listed(database_url) == {"a": 2, "b": 2}
    assert threadlog(*command).stdout.startswith("4 messages of 2 threads (")
    assert listed(database_url) == {}
    assert threadlog(*command).stdout == "0 messages of 0 threads (0 bytes) deleted.\n"


def test_writes_json(database_url: str) -> None:
    fill(database_url, "a")
    command = ["prune", "--url", database_url, "--older-than", "90d", "--messages", "--json"]
    dry = json.loads(threadlog(*command, "--dry-run").stdout)
    size = dry["bytes"]
    assert size > 0
    nothing = dict.fromkeys(
        ("with_forks", "with_open_runs", "with_questions", "referenced", "in_use"), 0
    )
    counts = {"threads": 1, "messages": 4, "bytes": size, **nothing, "referring_tables": []}
    assert dry == {**counts, "dry_run": True}
    assert json.loads(threadlog(*command).stdout) == {**counts, "dry_run": False}


def test_says_what_was_left_out(database_url: str) -> None:
    claim(database_url, "open", "r")
    ask(database_url, "asking", None)
    fill(database_url, "gone")
    command = ["prune", database_url, "--older-than", "90d", "--messages"]
    first, *left_out = threadlog(*command).stdout.splitlines()
    assert first.startswith("4 messages of 1 threads")
    assert left_out == [
        "Left out: 1 threads with open runs.",
        "Left out: 1 threads with a pending question.",
    ]
    done = threadlog(*command, "--ignore-open-runs", "--ignore-questions", "--ignore-forks")
    assert done.stdout == "0 messages of 2 threads (0 bytes) deleted.\n"


def test_prunes_the_threads_of_one_owner(sqlite_url: str) -> None:
    fill(sqlite_url, "a", owner="ann")
    fill(sqlite_url, "b", owner="bob")
    done = threadlog(
        "prune", sqlite_url, "--older-than", "90d", "--messages", "--owner", "ann", "--json"
    )
    assert json.loads(done.stdout)["threads"] == 1
    assert listed(sqlite_url) == {"b": 4}


def test_leaves_graphs_alone_and_needs_none(sqlite_url: str) -> None:
    fill(sqlite_url, "a")
    asyncio.run(execute(sqlite_url, *(f"DROP TABLE {table}" for table in CONTROL.tables)))
    done = threadlog("prune", sqlite_url, "--older-than", "90d", "--messages")
    assert (done.exit_code, done.stderr) == (0, "")


def test_refuses_a_database_without_a_message_log(sqlite_url: str) -> None:
    async def set_up() -> None:
        async with Saver(sqlite_url) as saver:
            await saver.setup()

    asyncio.run(set_up())
    refused = threadlog("prune", sqlite_url, "--older-than", "90d", "--messages")
    assert refused.exit_code == 1
    assert "threadlog migrate" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--keep-last", "3"], "--keep-last needs --messages"),
        (["--owner", "ann"], "--owner needs --messages"),
        (["--ignore-forks"], "--ignore-forks needs --messages"),
        (["--messages", "--keep-last", "0"], "greater than or equal to 1"),
        (["--messages", "--strategy", "delete"], "--strategy does not apply with --messages"),
        (["--messages", "--keep-keys", "3d"], "--keep-keys does not apply with --messages"),
    ],
)
def test_refuses_options_of_the_other_kind(
    sqlite_url: str, arguments: list[str], reason: str
) -> None:
    fill(sqlite_url, "a")
    result = threadlog("prune", sqlite_url, "--older-than", "1d", *arguments)
    assert result.exit_code == 2
    assert reason in re.sub(r"[│\s]+", " ", result.stderr)
    assert listed(sqlite_url) == {"a": 4}
