"""``threadlog prune``, as people and programs see it."""

import asyncio
import json
import re

import pytest

from tests.cli.helpers import SAMPLE, as_process, threadlog
from tests.graph.saver.making import config_for, put_chain
from tests.support.databases import execute
from threadlog.langgraph import Saver, Store
from threadlog.models import CONTROL

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def fill(url: str, *threads: str) -> None:
    """Create threads of three checkpoints, stored forty days ago."""

    async def work() -> None:
        async with Saver(url) as saver:
            await saver.setup()
            for thread in threads:
                for config in await put_chain(saver, thread, 3):
                    await saver.aput_writes(config, [("w", 1)], "task")
        past = {
            "sqlite": "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-40 days')",
            "mysql": "UTC_TIMESTAMP(6) - INTERVAL 40 DAY",
            "mariadb": "UTC_TIMESTAMP(6) - INTERVAL 40 DAY",
            "postgresql": "now() - INTERVAL '40 days'",
        }[url.partition(":")[0]]
        await execute(url, f"UPDATE threadlog_checkpoints SET created_at = {past}")

    asyncio.run(work())


def left(url: str, thread: str) -> int:
    """Count a thread's checkpoints."""

    async def work() -> int:
        async with Saver(url) as saver:
            return len([found async for found in saver.alist(config_for(thread))])

    return asyncio.run(work())


def test_prune_prints_what_it_would_delete_and_then_what_it_did(empty_url: str) -> None:
    fill(empty_url, "a", "b")
    command = ["prune", empty_url, "--older-than", "39d"]
    dry = threadlog(*command, "--dry-run")
    assert dry.stdout == "4 checkpoints of 2 threads would be deleted. Nothing was deleted.\n"
    assert (left(empty_url, "a"), left(empty_url, "b")) == (3, 3)
    done = threadlog(*command)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "4 checkpoints of 2 threads deleted, with 4 writes and 4 values.\n"
    assert (left(empty_url, "a"), left(empty_url, "b")) == (1, 1)
    assert threadlog(*command).stdout.startswith("0 checkpoints of 0 threads deleted")
    whole = threadlog(*command, "--strategy", "delete")
    assert whole.stdout == "2 checkpoints of 2 threads deleted, with 2 writes and 4 values.\n"
    assert (left(empty_url, "a"), left(empty_url, "b")) == (0, 0)


def test_prune_writes_json(empty_url: str) -> None:
    fill(empty_url, "a")
    command = ["prune", "--url", empty_url, "--older-than", "39d", "--json"]
    dry = json.loads(threadlog(*command, "--dry-run").stdout)
    found = {"threads": 1, "checkpoints": 2, "expired_items": 0, "append_keys": 0}
    assert dry == {**found, "writes": 0, "blobs": 0, "dry_run": True}
    done = json.loads(threadlog(*command).stdout)
    assert done == {**found, "writes": 2, "blobs": 2, "dry_run": False}


def test_prune_keeps_what_is_younger(empty_url: str) -> None:
    """The age is heeded."""
    fill(empty_url, "a")
    assert threadlog("prune", empty_url, "--older-than", "41d").stdout.startswith("0 checkpoints")
    assert left(empty_url, "a") == 3


def test_prune_leaves_the_message_log_alone(sqlite_url: str) -> None:
    """Conversations outlive it, and it makes no tables where there are none."""
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    done = threadlog("prune", sqlite_url, "--older-than", "0m")
    assert done.stdout.startswith("0 checkpoints of 0 threads deleted")
    asyncio.run(execute(sqlite_url, *(f"DROP TABLE {table}" for table in CONTROL.tables)))
    refused = threadlog("prune", sqlite_url, "--older-than", "0m")
    assert refused.exit_code == 1
    assert "none of threadlog's tables for the state of graphs" in refused.stderr
    before = threadlog("threads", "--url", sqlite_url, "--json").stdout
    fill(sqlite_url, "a")
    threadlog("prune", sqlite_url, "--older-than", "0m", "--strategy", "delete")
    assert threadlog("threads", "--url", sqlite_url, "--json").stdout == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Missing option '--older-than'"),
        (["--older-than", "soon"], "is not a number of minutes, hours or days"),
        (["--older-than", "1d", "--strategy", "all"], "Invalid value for '--strategy'"),
    ],
)
def test_prune_refuses_what_it_does_not_understand(
    sqlite_url: str, arguments: list[str], reason: str
) -> None:
    result = threadlog("prune", sqlite_url, *arguments)
    assert result.exit_code == 2
    assert reason in re.sub(r"[│\s]+", " ", result.stderr)


@pytest.mark.processes
def test_prune_of_a_file_that_is_not_there_makes_none(sqlite_url: str) -> None:
    result = as_process("prune", sqlite_url, "--older-than", "1d")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: There is no file")


def items(url: str) -> None:
    """Create an item that has expired and one that has not."""

    async def work() -> None:
        async with Store(url) as store:
            await store.setup()
            await store.aput(("a",), "gone", {"x": 1}, ttl=0)
            await store.aput(("a",), "kept", {"x": 1}, ttl=5)

    asyncio.run(work())


def test_prune_deletes_expired_items_too(empty_url: str) -> None:
    fill(empty_url, "a")
    items(empty_url)
    command = ["prune", empty_url, "--older-than", "39d"]
    assert threadlog(*command, "--dry-run").stdout == (
        "2 checkpoints of 1 threads, and 1 expired items of the memory store would be deleted. "
        "Nothing was deleted.\n"
    )
    assert threadlog(*command).stdout == (
        "2 checkpoints of 1 threads deleted, with 2 writes and 2 values, and 1 expired items of "
        "the memory store.\n"
    )
    again = json.loads(threadlog(*command, "--json").stdout)
    assert (again["expired_items"], again["checkpoints"]) == (0, 0)


def test_prune_needs_no_graphs_where_there_is_a_store(empty_url: str) -> None:
    items(empty_url)
    done = threadlog("prune", empty_url, "--older-than", "39d", "--json")
    assert (done.exit_code, json.loads(done.stdout)["expired_items"]) == (0, 1)
