"""``threadlog import``, as people and programs see it."""

import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import SAMPLE, threadlog, write_lines
from tests.support.processes import run_python

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def test_import_prints_what_it_did(database_url: str) -> None:
    first = threadlog("import", str(SAMPLE), "--url", database_url)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout == "3 imported (12 messages), 0 unchanged, 0 bad\n"
    second = threadlog("import", str(SAMPLE), "--url", database_url)
    assert second.stdout == "0 imported (0 messages), 3 unchanged, 0 bad\n"


def test_import_reports_bad_lines_and_takes_the_rest(database_url: str, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "mixed.jsonl",
        [{"role": "user", "content": "first"}],
        "nonsense",
        "",
        {"messages": [{"role": "robot"}]},
        {"thread_id": "ends in a space ", "messages": []},
        {"messages": [{"role": "user", "content": "last"}]},
        {"thread_id": "mixed:1", "messages": [{"role": "user", "content": "another"}]},
    )
    result = threadlog("import", str(file), "--url", database_url)
    assert result.exit_code == 1
    assert result.stdout == "2 imported (2 messages), 0 unchanged, 4 bad\n"
    lines = result.stderr.splitlines()
    assert lines[0] == f"{file}:2: The line is not JSON: Expecting value at character 1."
    assert lines[1] == f"{file}:4: messages[0] has the unknown role 'robot'."
    assert lines[2].startswith(f"{file}:5: thread_id must not end in a space")
    assert lines[3] == (
        f"{file}:7: Thread 'mixed:1' already contains another conversation. Use another thread_id."
    )
    assert lines[4:] == ["2 conversations without thread_id are named mixed:LINE."]
    listed = json.loads(threadlog("threads", "--url", database_url, "--json").stdout)
    assert {thread["thread_id"] for thread in listed} == {"mixed:1", "mixed:6"}


def test_import_writes_json_for_programs(database_url: str, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [{"role": "user", "content": "x"}], "nonsense")
    result = threadlog("import", str(file), "--url", database_url, "--json")
    assert json.loads(result.stdout) == {
        "file": str(file),
        "conversations": 2,
        "imported": 1,
        "unchanged": 0,
        "messages": 1,
        "unnamed": 1,
        "bad": [{"line": 2, "reason": "The line is not JSON: Expecting value at character 1."}],
    }
    assert result.stderr.startswith(f"{file}:2: ")


FILES: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "index": 0,
                        "function": {"name": "time", "arguments": ""},
                    }
                ],
            },
        ],
        "tools": [{"type": "function", "function": {"name": "time"}}],
        "parallel_tool_calls": False,
    },
    "openai_responses": {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "call_1", "name": "time", "arguments": "{}"},
        ],
    },
    "anthropic": {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "call_1", "name": "time", "input": {}}],
            },
        ],
    },
    "sharegpt": {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "hi"},
            {"from": "function_call", "value": '{"name": "time", "arguments": {}}'},
        ],
    },
    "langchain": {
        "messages": [
            {"type": "system", "data": {"content": "Be brief."}},
            {"type": "human", "data": {"content": "hi"}},
            {
                "type": "ai",
                "data": {
                    "content": "",
                    "tool_calls": [{"id": "call_1", "name": "time", "args": {}}],
                },
            },
        ],
    },
}


def test_import_tells_the_formats_of_a_files_conversations_apart(
    database_url: str, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "a.jsonl", *FILES.values())
    assert threadlog("import", str(file), "--url", database_url).stdout == (
        "5 imported (10 messages), 0 unchanged, 0 bad\n"
    )
    shown = [
        json.loads(threadlog("show", f"a:{line}", "--url", database_url, "--json").stdout)
        for line in range(1, 6)
    ]
    assert [thread["extra"]["system"] for thread in shown] == ["Be brief."] * 5
    for entry in [entry for thread in shown for entry in thread["messages"]]:
        del entry["created_at"]
    assert [thread["messages"] for thread in shown[1:]] == [shown[0]["messages"]] * 4
    assert shown[0]["extra"]["tools"] == FILES["openai_chat"]["tools"]
    assert shown[0]["extra"]["parallel_tool_calls"] is False


def test_import_reads_answers_states_and_lines_of_batches(
    database_url: str, tmp_path: Path
) -> None:
    texts = [{"type": "text", "text": "hello"}]
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "stop_reason": "end_turn"}
    file = write_lines(
        tmp_path / "a.jsonl",
        answer | {"content": texts},
        {"custom_id": "b1", "body": {"model": "gpt", "input": "hello"}},
        {"thread_id": "t1", "next": [], "values": {"messages": [{"type": "ai", "content": texts}]}},
    )
    assert threadlog("import", str(file), "--url", database_url).stdout == (
        "3 imported (3 messages), 0 unchanged, 0 bad\n"
    )
    shown = [
        json.loads(threadlog("show", thread, "--url", database_url, "--json").stdout)
        for thread in ("a:1", "a:2", "t1")
    ]
    assert [
        (thread["messages"][0]["role"], thread["messages"][0]["content"]) for thread in shown
    ] == [("assistant", texts), ("user", texts), ("assistant", texts)]
    assert [thread["extra"] for thread in shown] == [
        {},
        {"custom_id": "b1", "body": {"model": "gpt"}},
        {"next": []},
    ]


@pytest.mark.parametrize("name", FILES)
def test_import_reads_what_show_writes_in_a_format(
    database_url: str, tmp_path: Path, name: str
) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    file = write_lines(tmp_path / "a.jsonl", FILES["openai_chat"])
    threadlog("import", str(file), "--url", database_url)
    shown = threadlog("show", "a:1", "--url", database_url, "--format", name).stdout
    assert shown.count("\n") == 1
    file.write_text(shown, encoding="utf-8")
    for url, expected in ((database_url, "0 imported"), (other, "1 imported")):
        assert threadlog("import", str(file), "--url", url).stdout.startswith(expected)
    assert threadlog("show", "a:1", "--url", other, "--format", name).stdout == shown


@pytest.mark.parametrize("indent", [None, 1])
def test_import_reads_a_json_array_of_conversations(
    database_url: str, tmp_path: Path, indent: int | None
) -> None:
    file = tmp_path / "a.json"
    bad = {"messages": [{"role": "robot"}]}
    file.write_text(json.dumps([*FILES.values(), bad], indent=indent), encoding="utf-8")
    result = threadlog("import", str(file), "--url", database_url)
    assert result.stdout == "5 imported (10 messages), 0 unchanged, 1 bad\n"
    assert result.stderr.splitlines()[0] == (f"{file}:6: messages[0] has the unknown role 'robot'.")


def test_import_with_a_format_reads_no_other(database_url: str, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", FILES["sharegpt"])
    arguments = ("import", str(file), "--url", database_url, "--format")
    result = threadlog(*arguments, "anthropic")
    assert (result.exit_code, result.stdout.split(", ")[-1]) == (1, "1 bad\n")
    assert "conversations[0] has no role. Set its format (--format), or" in result.stderr
    assert threadlog(*arguments, "sharegpt").exit_code == 0
    assert threadlog(*arguments, "word").exit_code == 2


def test_import_refuses_what_has_no_field_if_told_so(database_url: str, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "a.jsonl",
        {"messages": [{"role": "user", "content": "a"}], "tools": []},
        {"messages": [{"role": "user", "content": "a", "weight": 0}]},
    )
    refused = threadlog("import", str(file), "--url", database_url, "--unknown", "refuse")
    assert [line.partition(" Use ")[0] for line in refused.stderr.splitlines()] == [
        f"{file}:1: tools has no field in threadlog's messages.",
        f"{file}:2: messages[0].weight has no field in threadlog's messages.",
    ]
    assert threadlog("import", str(file), "--url", database_url).exit_code == 0


def test_import_of_a_set_whose_lines_have_a_system_imports_all(
    database_url: str, tmp_path: Path
) -> None:
    lines = [
        {"system": f"You are {n}.", "messages": [{"role": "user", "content": "hi"}]}
        for n in range(500)
    ]
    result = threadlog(
        "import", str(write_lines(tmp_path / "a.jsonl", *lines)), "--url", database_url
    )
    assert result.stdout == "500 imported (500 messages), 0 unchanged, 0 bad\n"


@pytest.mark.processes
def test_import_shows_its_progress_on_a_terminal(sqlite_url: str) -> None:
    """The bar is on standard error, and only if that is a terminal."""
    ours, theirs = pty.openpty()
    done = run_python(
        *("-m", "threadlog", "import", str(SAMPLE), "--url", sqlite_url),
        stderr=theirs,
        environment={"TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "100%" in shown
    assert "3 imported, 0 unchanged" in shown
    assert done.returncode == 0
    assert done.stdout == "3 imported (12 messages), 0 unchanged, 0 bad\n"


@pytest.mark.processes
def test_import_reads_standard_input(sqlite_url: str) -> None:
    lines = '[{"role": "user", "content": "x"}]\nnonsense\n'
    done = run_python("-m", "threadlog", "import", "-", "--url", sqlite_url, input=lines)
    assert done.returncode == 1
    assert done.stdout == "1 imported (1 messages), 0 unchanged, 1 bad\n"
    assert done.stderr.splitlines() == [
        "stdin:2: The line is not JSON: Expecting value at character 1.",
        "1 conversation without thread_id is named stdin:LINE.",
    ]
    (thread,) = json.loads(threadlog("threads", "--url", sqlite_url, "--json").stdout)
    assert thread["thread_id"] == "stdin:1"


def test_import_of_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = threadlog("import", str(tmp_path / "none"), "--url", f"sqlite:///{tmp_path}/a.db")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []
