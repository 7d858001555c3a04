"""Owners on the command line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import ask, claim, threadlog, write_lines
from threadlog import Checkpointer

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def _no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own database from the environment."""
    monkeypatch.delenv("THREADLOG_URL", raising=False)


def _import(url: str, folder: Path, owner: str | None, *thread_ids: str) -> Any:
    lines = [{"thread_id": thread_id, "messages": HI} for thread_id in thread_ids]
    file = write_lines(folder / "file.jsonl", *lines)
    options = [] if owner is None else ["--owner", owner]
    return threadlog("import", str(file), "--url", url, "--json", *options)


@pytest.fixture
def owned_url(database_url: str, tmp_path: Path) -> str:
    """Return the URL of a database with two threads of ann, one of bob, and one of nobody."""
    for owner, thread_ids in (("ann", ["a1", "a2"]), ("bob", ["b"]), (None, ["n"])):
        assert _import(database_url, tmp_path, owner, *thread_ids).exit_code == 0
    claim(database_url, "a2", "r")
    claim(database_url, "b", "r")
    ask(database_url, "a1", None)
    ask(database_url, "n", None)
    return database_url


def _listed(url: str, *options: str) -> list[tuple[str, str | None, bool]]:
    found = json.loads(threadlog("threads", "--url", url, "--json", *options).stdout)
    return sorted((t["thread_id"], t["owner"], t["waiting"]) for t in found)


def test_threads_are_listed_by_owner_and_waiting(owned_url: str) -> None:
    assert _listed(owned_url) == [
        ("a1", "ann", True),
        ("a2", "ann", False),
        ("b", "bob", False),
        ("n", None, True),
    ]
    assert _listed(owned_url, "--owner", "ann") == [("a1", "ann", True), ("a2", "ann", False)]
    assert _listed(owned_url, "--waiting") == [("a1", "ann", True), ("n", None, True)]
    assert _listed(owned_url, "--owner", "bob", "--waiting") == []
    table = threadlog("threads", "--url", owned_url, "--order", "id").stdout
    assert [line.split()[-1] for line in table.strip().splitlines()[2:]][:3] == [
        "ann",
        "ann",
        "bob",
    ]


def test_an_import_does_not_write_to_threads_of_others(owned_url: str, tmp_path: Path) -> None:
    result = _import(owned_url, tmp_path, "bob", "a1", "new")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert (summary["imported"], [bad["line"] for bad in summary["bad"]]) == (1, [1])
    assert "belongs to another owner" in summary["bad"][0]["reason"]
    assert _listed(owned_url, "--owner", "bob") == [("b", "bob", False), ("new", "bob", False)]


def test_other_commands_are_scoped(owned_url: str) -> None:
    bob = ["--url", owned_url, "--owner", "bob"]
    for foreign in (["show", "a2"], ["show", "n"], ["runs", "a2"], ["release", "a2", "r"]):
        result = threadlog(*foreign, *bob)
        assert (result.exit_code, result.stdout) == (1, ""), foreign
    assert "hi" in threadlog("show", "b", *bob).stdout
    assert json.loads(threadlog("show", "b", "--json", *bob).stdout)["thread_id"] == "b"
    assert [r["run_id"] for r in json.loads(threadlog("runs", "b", "--json", *bob).stdout)] == ["r"]
    assert threadlog("release", "b", "r", *bob).exit_code == 0
    stale = threadlog("runs", "--stale", "0m", "--json", "--url", owned_url, "--owner", "ann")
    assert {run["thread_id"] for run in json.loads(stale.stdout)} <= {"a2"}
    assert len(json.loads(threadlog("runs", "a2", "--url", owned_url, "--json").stdout)) == 1


def _copy(*arguments: str) -> tuple[int, list[Any]]:
    result = threadlog("copy", *arguments, "--json")
    groups = json.loads(result.stdout)["groups"] if result.stdout else []
    return result.exit_code, [(group["copied"], group["faults"]) for group in groups]


def test_owners_are_copied_and_compared(owned_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    assert _copy(owned_url, target, "--owner", "ann") == (0, [(2, [])])
    assert _listed(target) == _listed(owned_url, "--owner", "ann")
    assert _copy(owned_url, target) == (0, [(2, [])])
    assert _listed(target) == _listed(owned_url)
    assert _copy(owned_url, target, "--compare") == (0, [(0, [])])

    async def give(url: str, thread_id: str, owner: str) -> None:
        async with Checkpointer(url) as checkpointer:
            await checkpointer.save_extra(thread_id, {}, owner=owner)

    asyncio.run(give(target, "n", "eve"))
    status, [(_, [fault])] = _copy(owned_url, target, "--compare")
    assert (status, fault["thread_id"], fault["kind"]) == (1, "n", "different")
    assert fault["reasons"] == ["threadlog_owners is only in the target"]
    asyncio.run(give(owned_url, "n", "bob"))
    status, [(_, [fault])] = _copy(owned_url, target)
    assert (status, fault["kind"]) == (1, "conflict")
    assert fault["reasons"] == ["threadlog_owners: owner differs"]
    assert _listed(target, "--owner", "eve") == [("n", "eve", True)]


def test_an_owner_and_threads_are_not_both_named(owned_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    for options, text in (
        (["--owner", "ann", "--thread", "a1"], "not both"),
        (["--part", "control"], "--part messages"),
    ):
        result = threadlog("copy", owned_url, target, *options)
        assert result.exit_code == 1
        assert text in result.stderr
