"""``threadlog show``, as people and programs see it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import ask, threadlog, write_lines

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def test_show_is_readable(filled_url: str) -> None:
    """Who, what, tools, their arguments and the extra can be seen."""
    shown = threadlog("show", "sample/weather", "--url", filled_url).stdout
    assert "thread sample/weather" in shown
    assert "channel: web" in shown
    assert "You are a weather agent." in shown
    assert "   1  user  20" in shown
    assert "Wie wird das Wetter in Köln? ☔\n" in shown
    assert '→ weather {"city": "Köln", "days": 2}' in shown
    assert "   3  weather  tool result  20" in shown
    assert shown.rstrip().endswith("Danke!")
    assert not any(line.endswith(" ") for line in shown.splitlines())
    picture = threadlog("show", "sample/picture", "--url", filled_url).stdout
    assert "[image image/png, 34 characters]" in picture
    calls = threadlog("show", "sample/two-calls", "--url", filled_url).stdout
    assert 'metadata {"name": "ann"}' in calls


def test_show_of_id_that_begins_with_a_dash_names_the_way(filled_url: str) -> None:
    refused = threadlog("show", "-dash", "--url", filled_url)
    assert refused.exit_code == 2
    shown = " ".join(refused.stderr.replace("│", " ").split())
    assert "No such option: -d. Put -- before a thread's id that begins with -" in shown
    assert "-dash" in threadlog("show", "--url", filled_url, "--", "-dash").stderr


def test_show_gives_only_the_newest_on_demand(filled_url: str) -> None:
    shown = threadlog("show", "sample/weather", "--url", filled_url, "--last", "2").stdout
    assert "   3  " not in shown
    assert "   4  assistant" in shown
    assert "\n\n… earlier messages, up to seq 3\n\n" in shown
    assert "earlier" not in threadlog("show", "sample/weather", "--url", filled_url).stdout
    for last, seqs in (("2", [4, 5]), ("9", [1, 2, 3, 4, 5])):
        arguments = ["show", "sample/weather", "--url", filled_url, "--last", last, "--json"]
        found = json.loads(threadlog(*arguments).stdout)
        assert [message["seq"] for message in found["messages"]] == seqs


def test_show_of_a_pruned_thread_names_no_messages_that_are_gone(filled_url: str) -> None:
    prune = ["--older-than", "0m", "--messages", "--keep-last", "2", "--url", filled_url]
    assert threadlog("prune", *prune).exit_code == 0
    for last, is_there in (("1", True), ("2", False)):
        arguments = ["show", "sample/weather", "--url", filled_url, "--last", last]
        assert ("earlier messages, up to seq 4" in threadlog(*arguments).stdout) is is_there


def test_show_of_more_messages_than_a_database_counts_is_refused(filled_url: str) -> None:
    result = threadlog("show", "sample/weather", "--url", filled_url, "--last", str(2**63 - 1))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: last must be an int of at least 1")


def test_show_writes_json_for_programs(filled_url: str) -> None:
    found = json.loads(threadlog("show", "sample/two-calls", "--url", filled_url, "--json").stdout)
    assert found.keys() == {
        "thread_id",
        "extra",
        "parent_thread_id",
        "pending_request",
        "pending_run_id",
        "truncations",
        "messages",
    }
    assert found["thread_id"] == "sample/two-calls"
    assert [message["role"] for message in found["messages"]] == [
        "user",
        "assistant",
        "tool_result",
        "tool_result",
        "assistant",
    ]
    assert found["messages"][0]["metadata"] == {"name": "ann"}
    assert found["messages"][0]["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("encoding", "letters"), [("utf-8", "Köln? ☔"), ("latin-1", "K\\u00f6ln")]
)
@pytest.mark.processes
def test_json_keeps_the_letters_that_the_output_has(
    filled_url: str, encoding: str, letters: str
) -> None:
    """JSON can be read by people, and by programs whatever the encoding."""
    command = [sys.executable, "-m", "threadlog", "show", "sample/weather", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "THREADLOG_URL": filled_url}
    shown = subprocess.check_output(command, env=environment).decode(encoding)
    assert letters in shown
    text = json.loads(shown)["messages"][0]["content"][0]["text"]
    assert text == "Wie wird das Wetter in Köln? ☔"


def test_show_of_a_thread_without_messages(database_url: str, tmp_path: Path) -> None:
    """Its extra is shown and that its JSON is whole."""
    file = write_lines(tmp_path / "a.jsonl", {"thread_id": "t", "extra": {"a": 1}, "messages": []})
    threadlog("import", str(file), "--url", database_url)
    assert threadlog("show", "t", "--url", database_url).stdout == "thread t\na: 1\n"
    found = json.loads(threadlog("show", "t", "--url", database_url, "--json").stdout)
    assert found == {
        "thread_id": "t",
        "extra": {"a": 1},
        "parent_thread_id": None,
        "pending_request": None,
        "pending_run_id": None,
        "truncations": [],
        "messages": [],
    }


@pytest.mark.parametrize(("run_id", "where"), [("r", " in run r"), (None, "")])
def test_show_prints_a_pending_question(database_url: str, run_id: str | None, where: str) -> None:
    ask(database_url, "t", run_id, question_id="q", payload={"kind": "ask", "text": "Köln?"})
    assert threadlog("show", "t", "--url", database_url).stdout == (
        f'thread t\nwaiting for an answer to q{where}\n      {{"kind": "ask", "text": "Köln?"}}\n'
    )
    found = json.loads(threadlog("show", "t", "--url", database_url, "--json").stdout)
    assert found["pending_run_id"] == run_id
    assert found["pending_request"]["question_id"] == "q"
    assert found["pending_request"]["payload"] == {"kind": "ask", "text": "Köln?"}


def test_show_of_an_unknown_thread_fails(filled_url: str) -> None:
    for options in ([], ["--json"], ["--last", "3"]):
        result = threadlog("show", "nope", "--url", filled_url, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "Error: There is no thread 'nope'. Check the id and the database.\n"
