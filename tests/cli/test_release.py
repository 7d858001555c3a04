"""``threadlog release``, as people and programs see it."""

import asyncio
import json

import pytest

from tests.cli.helpers import ask, claim, threadlog
from threadlog import Checkpointer

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def states(url: str) -> dict[str, str]:
    """Return the state of each run of the thread t."""
    found = json.loads(threadlog("runs", "t", "--url", url, "--json").stdout)
    return {run["run_id"]: run["state"] for run in found}


def test_a_released_run_can_be_claimed_again(database_url: str) -> None:
    claim(database_url, "t", "r", "other")
    result = threadlog("release", "t", "r", "--url", database_url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Released run r of thread t.\n"
    assert states(database_url) == {"other": "open"}
    claim(database_url, "t", "r")


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_release_refuses_what_is_not_open(database_url: str, options: list[str]) -> None:
    claim(database_url, "t", "done", "open")
    asyncio.run(_complete(database_url, "done"))
    for thread, run, reason in (
        ("t", "done", "Run 'done' of thread 't' is completed and cannot be released."),
        ("t", "OPEN", "Run 'OPEN' of thread 't' is not claimed. See: threadlog runs THREAD"),
        ("no", "open", "Run 'open' of thread 'no' is not claimed. See: threadlog runs THREAD"),
        ("t", "", "run_id must not be empty."),
    ):
        result = threadlog("release", thread, run, "--url", database_url, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"Error: {reason}\n"
    assert states(database_url) == {"done": "completed", "open": "open"}


@pytest.mark.parametrize("asking", ["r", None])
def test_release_of_a_run_that_waits_is_to_be_forced(database_url: str, asking: str | None) -> None:
    claim(database_url, "t", "r")
    ask(database_url, "t", asking, question_id="q")
    refused = threadlog("release", "t", "r", "--url", database_url)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        "Error: Run 'r' of thread 't' is waiting for a person's answer, or its lease has not "
        "ended. Use --force to release it anyway.\n"
    )
    assert states(database_url) == {"r": "waiting"}
    forced = threadlog("release", "t", "r", "--url", database_url, "--force")
    assert (forced.exit_code, forced.stdout) == (0, "Released run r of thread t.\n")
    assert states(database_url) == {}
    assert "waiting for an answer to q" in threadlog("show", "t", "--url", database_url).stdout


def test_another_run_may_be_released_while_one_waits(database_url: str) -> None:
    """A question protects the run that asked it, and no other."""
    claim(database_url, "t", "asks", "lost")
    ask(database_url, "t", "asks")
    assert threadlog("release", "t", "lost", "--url", database_url).exit_code == 0
    assert states(database_url) == {"asks": "waiting"}


async def _complete(url: str, run_id: str) -> None:
    async with Checkpointer(url) as checkpointer:
        await checkpointer.mark_run_complete("t", run_id)
