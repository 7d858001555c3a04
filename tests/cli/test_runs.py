"""``threadlog runs``, as people and programs see it."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.helpers import claim, threadlog
from tests.support.databases import execute
from tests.support.factories import HitlRequestFactory
from threadlog import Checkpointer

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


@pytest.fixture
def runs_url(database_url: str) -> str:
    """Return the URL of a database with runs of every state, all but the last claimed years ago."""
    asyncio.run(_write_runs(database_url))
    asyncio.run(execute(database_url, "UPDATE cubepi_runs SET claimed_at = '2020-01-02 12:00:00'"))
    claim(database_url, "new", "young")
    return database_url


async def _write_runs(url: str) -> None:
    async with Checkpointer(url) as checkpointer:
        for run_id in ("asks", "done-1", "done-2", "lost"):
            await checkpointer.claim_run("t", run_id)
        await checkpointer.mark_run_complete("t", "done-2")
        await checkpointer.mark_run_complete("t", "done-1")
        await checkpointer.save_pending_request("t", HitlRequestFactory(), run_id="asks")
        await checkpointer.claim_run("other", "lost as well")
        await checkpointer.save_extra("no-runs", {})


def test_runs_of_a_thread_are_a_table(runs_url: str) -> None:
    result = threadlog("runs", "t", "--url", runs_url)
    assert (result.exit_code, result.stderr) == (0, "")
    header, _, *rows = [line.split() for line in result.stdout.strip().splitlines()]
    assert " ".join(header) == "Run State Claimed (UTC) Completed (UTC) Place"
    times = [[row.pop(2) for _ in row[2:6]] for row in rows]
    assert rows == [
        ["asks", "waiting"],
        ["done-1", "completed", "2"],
        ["done-2", "completed", "1"],
        ["lost", "open"],
    ]
    assert [len(each) for each in times] == [2, 4, 4, 2]
    assert all(claimed < completed for claimed, _, completed, _ in times[1:3])
    assert all(claimed.startswith("2020-01-0") for claimed, *_ in times)


def test_runs_of_a_thread_are_json_for_programs(runs_url: str) -> None:
    found = json.loads(threadlog("runs", "t", "--url", runs_url, "--json").stdout)
    assert [run["run_id"] for run in found] == ["asks", "done-1", "done-2", "lost"]
    assert found[0]["claimed_at"].startswith("2020-01-0")
    completed_at = found[1].pop("completed_at")
    assert completed_at > found[0]["claimed_at"]
    assert completed_at.endswith("+00:00")
    assert found[1] == {
        "thread_id": "t",
        "run_id": "done-1",
        "state": "completed",
        "claimed_at": found[0]["claimed_at"],
        "completion_seq": 2,
    }
    assert found[3] == {
        "thread_id": "t",
        "run_id": "lost",
        "state": "open",
        "claimed_at": found[0]["claimed_at"],
        "completed_at": None,
        "completion_seq": None,
    }


def test_stale_runs_are_those_of_all_threads(runs_url: str) -> None:
    """Waiting, completed and young runs are omitted, for people and programs."""
    result = threadlog("runs", "--stale", "1h", "--url", runs_url)
    assert (result.exit_code, result.stderr) == (0, "")
    header, _, *rows = result.stdout.strip().splitlines()
    assert header.split() == ["Thread", "Run", "Claimed", "(UTC)"]
    assert [row.split()[:2] for row in rows] == [["other", "lost"], ["t", "lost"]]
    assert "lost as well" in rows[0]
    found = json.loads(threadlog("runs", "--stale", "1h", "--url", runs_url, "--json").stdout)
    assert [(run["thread_id"], run["run_id"], run["state"]) for run in found] == [
        ("other", "lost as well", "open"),
        ("t", "lost", "open"),
    ]


@pytest.mark.parametrize(
    ("age", "count"),
    [("0m", 3), ("1499m", 2), ("1501m", 0), ("24h", 2), ("26h", 0), ("1d", 2), ("2d", 0)],
)
def test_an_age_has_its_unit(sqlite_url: str, age: str, count: int) -> None:
    claim(sqlite_url, "t", "a", "b")
    long_ago = "UPDATE cubepi_runs SET claimed_at = datetime('now', '-25 hours')"
    asyncio.run(execute(sqlite_url, long_ago))
    claim(sqlite_url, "t", "c")
    result = threadlog("runs", "--stale", age, "--url", sqlite_url, "--json")
    assert len(json.loads(result.stdout)) == count


def test_the_highest_age_is_in_the_range_of_dates(runs_url: str) -> None:
    """The command finds nothing, and prints that for a person."""
    result = threadlog("runs", "--stale", "99999d", "--url", runs_url)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "There are no stale runs.\n"


@pytest.mark.parametrize("age", ["", "30", "h", "1 h", "-1h", "1.5h", "1w", "٣m", "100000m"])
def test_a_wrong_age_is_a_usage_error(tmp_path: Path, age: str) -> None:
    """Right ones are named, and nothing is opened."""
    result = threadlog("runs", f"--stale={age}", "--url", f"sqlite:///{tmp_path}/a.db")
    assert result.exit_code == 2
    assert "--stale" in result.stderr
    assert "such as 30m or 2d." in " ".join(result.stderr.replace("│", "").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["t", "--stale", "1h"]])
def test_runs_needs_either_a_thread_or_an_age(tmp_path: Path, arguments: list[str]) -> None:
    """Neither and both are usage errors that say what to give, before any opening."""
    result = threadlog("runs", *arguments, "--url", f"sqlite:///{tmp_path}/a.db")
    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", "").split())
    assert "name a thread, or use --stale AGE for all threads, but not both." in told
    assert list(tmp_path.iterdir()) == []


def test_a_thread_without_runs_is_distinguished_from_an_unknown_one(runs_url: str) -> None:
    """The first is no failure, and the second fails as it does for show."""
    without = threadlog("runs", "no-runs", "--url", runs_url)
    assert (without.exit_code, without.stdout) == (0, "")
    assert without.stderr == "There are no runs.\n"
    assert threadlog("runs", "no-runs", "--url", runs_url, "--json").stdout == "[]\n"
    shown = threadlog("show", "nope", "--url", runs_url)
    for options in ([], ["--json"]):
        unknown = threadlog("runs", "nope", "--url", runs_url, *options)
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert unknown.stderr == shown.stderr
        assert unknown.stderr.startswith("Error: There is no thread 'nope'. Check the id")
