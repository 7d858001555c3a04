"""The commands for keys of appends and truncations, as people and programs see them."""

import asyncio
import json

import pytest

from tests.cli.helpers import threadlog
from tests.support.databases import execute
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.log import append_keys
from threadlog.messages import UserMessage

# The command line does not know the databases apart; ages are computed by each database.
AGES = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-{} days')",
    "mysql": "UTC_TIMESTAMP(6) - INTERVAL {} DAY",
    "mariadb": "UTC_TIMESTAMP(6) - INTERVAL {} DAY",
    "postgresql": "now() - INTERVAL '{} days'",
}


def fill(url: str) -> None:
    """Append with keys, of which four are 31 days old, and one 29."""

    async def work() -> None:
        async with Checkpointer(url) as checkpointer:
            for number in range(6):
                message = UserMessage(content=[], id=str(number))
                await checkpointer.append(f"t{number % 2}", [message], key=f"k{number}")
        for days, keys in ((31, "'k0', 'k1', 'k2', 'k3'"), (29, "'k4'")):
            past = AGES[url.partition(":")[0]].format(days)
            update = f"UPDATE threadlog_append_keys SET created_at = {past}"
            await execute(url, f"{update} WHERE append_key IN ({keys})")

    asyncio.run(work())


def stored_again(url: str) -> list[str]:
    """Repeat the appends; return the keys whose messages were stored again."""

    async def work() -> list[str]:
        async with Checkpointer(url) as checkpointer:
            found = []
            for number in range(6):
                message = UserMessage(content=[], id=str(number))
                seqs = await checkpointer.append(f"t{number % 2}", [message], key=f"k{number}")
                if seqs != [number // 2 + 1]:
                    found.append(f"k{number}")
            return found

    return asyncio.run(work())


def test_prune_removes_keys_of_thirty_days(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several transactions, and not those that are younger."""
    monkeypatch.setattr(append_keys, "_AT_ONCE", 3)
    fill(database_url)
    command = ["prune", database_url, "--older-than", "90d"]
    dry = threadlog(*command, "--dry-run")
    assert (dry.exit_code, dry.stderr) == (0, "")
    assert dry.stdout == (
        "0 checkpoints of 0 threads, and 4 keys of appends would be deleted. Nothing was deleted.\n"
    )
    assert json.loads(threadlog(*command, "--json").stdout)["append_keys"] == 4
    assert json.loads(threadlog(*command, "--json").stdout)["append_keys"] == 0
    assert stored_again(database_url) == ["k0", "k1", "k2", "k3"]


@pytest.mark.one_database
def test_prune_keeps_keys_for_as_long_as_it_is_told(database_url: str) -> None:
    fill(database_url)
    command = ["prune", database_url, "--older-than", "90d", "--keep-keys"]
    assert json.loads(threadlog(*command, "40d", "--json").stdout)["append_keys"] == 0
    assert json.loads(threadlog(*command, "29d", "--json").stdout)["append_keys"] == 5
    assert "not a number" in threadlog(*command, "later").stderr


@pytest.mark.one_database
def test_show_marks_what_was_removed(database_url: str) -> None:
    async def work() -> None:
        async with Checkpointer(database_url) as checkpointer:
            await checkpointer.append("t", UserFactory.build_batch(5))
            await checkpointer.truncate("t", after_seq=4, run_id="run\x1b1")
            await checkpointer.truncate("t", after_seq=2)
            await checkpointer.append("t", UserFactory.build_batch(1))

    asyncio.run(work())
    shown = threadlog("show", "t", "--url", database_url)
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = [line for line in shown.stdout.splitlines() if line.startswith("removed")]
    assert lines[0].startswith("removed 1 message after seq 4, up to seq 5, on 20")
    assert lines[0].endswith("by run run\\x1b1")
    assert lines[1].startswith("removed 2 messages after seq 2, up to seq 4, on 20")
    document = json.loads(threadlog("show", "t", "--url", database_url, "--json").stdout)
    assert [message["seq"] for message in document["messages"]] == [1, 2, 6]
    assert [(t["after_seq"], t["last_seq"]) for t in document["truncations"]] == [(4, 5), (2, 4)]
