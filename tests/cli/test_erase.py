"""``threadlog erase``, as people and programs see it."""

import asyncio
import json
import os
import pty
import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest
from langgraph.store.base import PutOp
from typer.testing import CliRunner

from tests.cli.helpers import HEEDS_CTRL_C, threadlog
from tests.graph.saver.making import put_chain
from tests.support.databases import execute
from tests.support.factories import UserFactory
from tests.support.processes import PythonProcess
from threadlog import Checkpointer
from threadlog.cli import app
from threadlog.langgraph import Saver, Store

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a database with threads of two owners, forks, and memories."""
    url = f"sqlite:///{tmp_path}/threadlog.db"

    async def fill() -> None:
        async with Checkpointer(url) as log:
            for thread_id, owner in (("a1", "alice"), ("a2", "alice"), ("b", "bob")):
                await log.append(thread_id, [UserFactory()], owner=owner)
            await log.fork("b", "b-fork", at_seq=1)
        async with Store(url) as store:
            await store.setup()
            await store.abatch([PutOp(("users", "alice"), "k", {}), PutOp(("users",), "k", {})])

    asyncio.run(fill())
    return url


def left(url: str) -> list[str]:
    """Return the ids of the threads that there are."""

    async def read() -> list[str]:
        async with Checkpointer(url) as log:
            return [thread.thread_id for thread in await log.list_threads()]

    return asyncio.run(read())


def test_erase_without_a_terminal_needs_yes(url: str) -> None:
    result = threadlog("erase", url, "--thread", "a1")
    assert result.exit_code == 1
    assert "Use --yes, or --dry-run" in result.stderr
    assert len(left(url)) == 4


@pytest.mark.parametrize(("answer", "erased"), [("y\n", True), ("n\n", False), ("", False)])
def test_erase_asks_at_a_terminal(
    url: str, monkeypatch: pytest.MonkeyPatch, answer: str, *, erased: bool
) -> None:
    # The package has the command by the name of the module.
    monkeypatch.setattr(sys.modules["threadlog.cli.erase"], "has_terminal", lambda: True)
    for owner in ("evil\x1b[31m", "alice"):
        result = CliRunner().invoke(app, ["erase", url, "--owner", owner], input=answer)
        assert f"Erase all threads of owner {owner[:4]}" in result.stderr
        assert "\x1b" not in result.output
        assert result.exit_code == (0 if erased else 1)
    assert ("a1" in left(url)) is not erased


@pytest.mark.processes
def test_ctrl_c_at_the_question_erases_nothing_and_ends_with_130(url: str) -> None:
    keyboard, terminal = pty.openpty()
    question = "Erase all threads of owner alice? [y/N]:"
    command = ("-c", HEEDS_CTRL_C, "erase", url, "--owner", "alice")
    with PythonProcess(*command, stdin=terminal) as process:
        asked = process.stderr.read(len(question))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    os.close(keyboard)
    os.close(terminal)
    assert asked == question
    assert (process.returncode, errors) == (130, "Error: Interrupted. Nothing was erased.\n")
    assert len(left(url)) == 4


def test_erase_of_an_owner_reports_counts_and_no_contents(url: str) -> None:
    arguments = ["erase", url, "--owner", "alice", "--memories", "users.alice", "--json"]
    counted = json.loads(threadlog(*arguments, "--dry-run").stdout)
    assert len(left(url)) == 4
    done = threadlog(*arguments, "--yes")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["thread_ids"] == ["a1", "a2"]
    assert report["rows"] == counted["rows"]
    assert report["rows"]["cubepi_messages"] == 2
    assert report["rows"]["threadlog_store"] == 1
    assert (report["owner"], report["dry_run"], report["left"]) == ("alice", False, {})
    assert datetime.fromisoformat(report["finished_at"]).tzinfo is not None
    assert set(report) == {
        "thread_ids",
        "rows",
        "detached_forks",
        "finished_at",
        "owner",
        "dry_run",
        "left",
    }
    assert left(url) == ["b", "b-fork"]


def test_erase_prints_what_it_would_erase_and_what_it_did(url: str) -> None:
    arguments = ["erase", url, "--thread", "b", "--forks", "erase"]
    dry = threadlog(*arguments, "--dry-run")
    assert dry.stdout.startswith("6 rows of 2 threads would be erased. Nothing was erased.\n")
    assert "cubepi_messages: 2" in dry.stdout
    done = threadlog(*arguments, "--yes")
    assert done.stdout.startswith("6 rows of 2 threads erased, verified at 20")
    assert left(url) == ["a1", "a2"]
    assert threadlog(*arguments, "--yes").stdout.startswith("0 rows of 0 threads erased")


def test_erase_of_a_thread_with_forks_is_refused(url: str) -> None:
    result = threadlog("erase", url, "--thread", "b", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has forks" in result.stderr
    assert "--forks erase" in result.stderr
    result = threadlog("erase", url, "--thread", "b", "--forks", "detach", "--yes")
    assert "kept, with copies: fork b-fork" in result.stdout
    assert left(url) == ["a1", "a2", "b-fork"]


def test_threads_that_are_left_are_named_and_the_status_is_one(url: str) -> None:
    async def give() -> None:
        async with Checkpointer(url) as log:
            await log.append("source", [UserFactory()])
            await log.fork("source", "of-bob", at_seq=1, owner="bob")
            await log.save_extra("source", {}, owner="alice")

    asyncio.run(give())
    result = threadlog("erase", url, "--owner", "alice", "--yes", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["thread_ids"] == ["a1", "a2"]
    assert list(report["left"]) == ["source"]
    assert "thread 'source': it has forks that are not erased" in result.stderr
    text = threadlog("erase", url, "--owner", "alice", "--yes")
    assert (text.exit_code, text.stdout.splitlines()) == (
        1,
        [
            text.stdout.splitlines()[0],
            "  not erased: source: it has forks that are not erased",
        ],
    )


def test_rows_that_were_erased_before_a_failure_are_reported(url: str) -> None:
    async def refuse() -> None:
        await execute(
            url,
            "CREATE TRIGGER refuse BEFORE DELETE ON cubepi_threads WHEN old.thread_id = 'a2' "
            "BEGIN SELECT RAISE(ABORT, 'no deletion today'); END",
        )

    asyncio.run(refuse())
    result = threadlog("erase", url, "--owner", "alice", "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["thread_ids"] == ["a1"]
    assert "no deletion today" in result.stderr
    assert left(url) == ["a2", "b", "b-fork"]


@pytest.mark.parametrize("names", [(), ("--thread", "a1", "--owner", "alice")])
def test_erase_needs_a_thread_or_an_owner(url: str, names: tuple[str, ...]) -> None:
    result = threadlog("erase", url, *names, "--yes")
    assert result.exit_code == 2
    assert "Name a thread or an owner" in result.stderr
    assert len(left(url)) == 4


def test_the_namespace_of_all_memories_is_refused(url: str) -> None:
    result = threadlog("erase", url, "--owner", "alice", "--memories", "", "--yes")
    assert result.exit_code == 1
    assert "label" in result.stderr
    assert len(left(url)) == 4


def test_a_database_without_messages_is_enough_and_one_without_tables_is_refused(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/graphs.db"

    async def fill() -> None:
        async with Saver(url) as saver:
            await saver.setup()
            await put_chain(saver, "t", 2)

    asyncio.run(fill())
    done = threadlog("erase", url, "--thread", "t", "--yes")
    assert "threadlog_checkpoints: 2" in done.stdout
    assert threadlog("erase", url, "--owner", "alice", "--yes").exit_code == 1
    (tmp_path / "empty.db").touch()
    empty = threadlog("erase", f"sqlite:///{tmp_path}/empty.db", "--thread", "t", "--yes")
    assert (empty.exit_code, empty.stdout) == (1, "")
    assert "none of threadlog's tables" in empty.stderr
