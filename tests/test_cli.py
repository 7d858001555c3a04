"""The command line, as people and programs see it."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner, Result

from tests.databases import on_connection
from threadlog.cli import app
from threadlog.cli.output import printable, without_password

SAMPLE = Path(__file__).parent / "data" / "sample.jsonl"
COMMANDS = ["import", "threads", "show", "check", "migrate"]

EVIL_ID = "evil\x1b[31m[bold]id"
EVIL = {
    "thread_id": EVIL_ID,
    "extra": {"note": "[red]\x1b]0;title\x07"},
    "messages": [
        {"role": "user", "content": "[bold]hi[/bold] \x1b[2J \u202eabc\r\nline two 世界"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f\x1b[0m[b]", "arguments": '{"a": "[/x]\\u001b[0m"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "\x9b31m"},
    ],
}


@pytest.fixture(autouse=True)
def _no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own database out of the tests."""
    monkeypatch.delenv("THREADLOG_URL", raising=False)


def threadlog(*arguments: str, **environment: str) -> Result:
    """Run a command in this process."""
    result = CliRunner(env=environment).invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def as_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m threadlog`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "threadlog", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def write_lines(file: Path, *lines: Any) -> Path:
    """Write a JSON Lines file; a string is a line as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def filled_url(database_url: str) -> str:
    """Give a database into which the sample was imported."""
    assert threadlog("import", str(SAMPLE), "--url", database_url).exit_code == 0
    return database_url


# --- import ------------------------------------------------------------------------


def test_import_tells_what_it_did(database_url: str) -> None:
    """Pins the summary for people, the first and the second time."""
    first = threadlog("import", str(SAMPLE), "--url", database_url)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout == "3 imported (12 messages), 0 unchanged, 0 bad\n"
    second = threadlog("import", str(SAMPLE), "--url", database_url)
    assert second.stdout == "0 imported (0 messages), 3 unchanged, 0 bad\n"


def test_import_reports_bad_lines_and_takes_the_rest(database_url: str, tmp_path: Path) -> None:
    """Pins the line numbers, the exit status, and that the good lines went in."""
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
    assert lines[2].startswith(f"{file}:5: thread_id ends in a space")
    assert lines[3] == f"{file}:7: Thread 'mixed:1' already holds another conversation."
    assert lines[4:] == ["2 conversations without thread_id are named mixed:LINE."]
    listed = json.loads(threadlog("threads", "--url", database_url, "--json").stdout)
    assert {thread["thread_id"] for thread in listed} == {"mixed:1", "mixed:6"}


def test_import_writes_json_for_programs(database_url: str, tmp_path: Path) -> None:
    """Pins the JSON summary, alone on standard output, with the bad lines in it."""
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


def test_import_shows_its_progress_on_a_terminal(sqlite_url: str) -> None:
    """Pins that the bar is on standard error, and only if that is a terminal."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "threadlog", "import", str(SAMPLE), "--url", sqlite_url],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "100%" in shown
    assert "3 imported, 0 unchanged" in shown
    assert done.stdout == b"3 imported (12 messages), 0 unchanged, 0 bad\n"


def test_import_reads_standard_input(sqlite_url: str) -> None:
    """Pins the dash, and what lines and threads are called then."""
    lines = b'[{"role": "user", "content": "x"}]\nnonsense\n'
    command = [sys.executable, "-m", "threadlog", "import", "-", "--url", sqlite_url]
    done = subprocess.run(command, input=lines, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stdout == b"1 imported (1 messages), 0 unchanged, 1 bad\n"
    assert done.stderr.decode().splitlines() == [
        "stdin:2: The line is not JSON: Expecting value at character 1.",
        "1 conversation without thread_id is named stdin:LINE.",
    ]
    (thread,) = json.loads(threadlog("threads", "--url", sqlite_url, "--json").stdout)
    assert thread["thread_id"] == "stdin:1"


def test_import_of_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """Pins exit status 2, and that no database is created."""
    result = threadlog("import", str(tmp_path / "none"), "--url", f"sqlite:///{tmp_path}/a.db")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


# --- threads -----------------------------------------------------------------------


def test_threads_are_a_table(filled_url: str) -> None:
    """Pins the columns, and that nothing is cut when no terminal is there."""
    result = threadlog("threads", "--url", filled_url)
    assert result.exit_code == 0
    header, _, *rows = [line.split() for line in result.stdout.strip().splitlines()]
    assert header == ["Thread", "Messages", "Last", "activity", "(UTC)", "Parent"]
    found = {row[0]: int(row[1]) for row in rows}
    assert found == {"sample/weather": 5, "sample/two-calls": 5, "sample/picture": 2}


def test_threads_can_be_paged_by_id(filled_url: str) -> None:
    """Pins --order, --limit and --after, and the hint about a next page."""
    seen: list[str] = []
    options = ["--order", "id", "--limit", "2", "--json"]
    page = json.loads(threadlog("threads", "--url", filled_url, *options).stdout)
    seen += [thread["thread_id"] for thread in page]
    page = json.loads(
        threadlog("threads", "--url", filled_url, *options, "--after", seen[-1]).stdout
    )
    seen += [thread["thread_id"] for thread in page]
    assert seen == ["sample/picture", "sample/two-calls", "sample/weather"]
    assert page[0].keys() == {
        "thread_id",
        "last_seq",
        "parent_thread_id",
        "forked_at_seq",
        "created_at",
        "updated_at",
    }
    hint = threadlog("threads", "--url", filled_url, "--order", "id", "--limit", "2").stderr
    assert "--after sample/two-calls" in hint


def test_after_needs_the_order_by_id(tmp_path: Path) -> None:
    """Pins that the mistake is told before anything is opened."""
    url = f"sqlite:///{tmp_path}/a.db"
    result = threadlog("threads", "--url", url, "--after", "x")
    assert result.exit_code == 2
    assert "--order id" in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- show --------------------------------------------------------------------------


def test_show_is_readable(filled_url: str) -> None:
    """Pins that who, what, tools, their arguments and the extra can be seen."""
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


def test_show_gives_only_the_newest_on_demand(filled_url: str) -> None:
    """Pins --last, for people and programs, on both sides of a thread's length."""
    shown = threadlog("show", "sample/weather", "--url", filled_url, "--last", "2").stdout
    assert "   3  " not in shown
    assert "   4  assistant" in shown
    assert "\n\n… 3 earlier messages\n\n" in shown
    assert "earlier" not in threadlog("show", "sample/weather", "--url", filled_url).stdout
    for last, seqs in (("2", [4, 5]), ("9", [1, 2, 3, 4, 5])):
        arguments = ["show", "sample/weather", "--url", filled_url, "--last", last, "--json"]
        found = json.loads(threadlog(*arguments).stdout)
        assert [message["seq"] for message in found["messages"]] == seqs


def test_show_writes_json_for_programs(filled_url: str) -> None:
    """Pins the one object with everything in it."""
    found = json.loads(threadlog("show", "sample/two-calls", "--url", filled_url, "--json").stdout)
    assert found.keys() == {"thread_id", "extra", "parent_thread_id", "messages"}
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
def test_json_keeps_the_letters_that_the_output_has(
    filled_url: str, encoding: str, letters: str
) -> None:
    """Pins that JSON can be read by people, and by programs whatever the encoding."""
    command = [sys.executable, "-m", "threadlog", "show", "sample/weather", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "THREADLOG_URL": filled_url}
    shown = subprocess.check_output(command, env=environment).decode(encoding)
    assert letters in shown
    text = json.loads(shown)["messages"][0]["content"][0]["text"]
    assert text == "Wie wird das Wetter in Köln? ☔"


def test_show_of_a_thread_without_messages(database_url: str, tmp_path: Path) -> None:
    """Pins that its extra is shown and that its JSON is whole."""
    file = write_lines(tmp_path / "a.jsonl", {"thread_id": "t", "extra": {"a": 1}, "messages": []})
    threadlog("import", str(file), "--url", database_url)
    assert threadlog("show", "t", "--url", database_url).stdout == "thread t\na: 1\n"
    found = json.loads(threadlog("show", "t", "--url", database_url, "--json").stdout)
    assert found == {"thread_id": "t", "extra": {"a": 1}, "parent_thread_id": None, "messages": []}


def test_show_of_an_unknown_thread_fails(filled_url: str) -> None:
    """Pins one line on standard error, none on the other, and the exit status."""
    for options in ([], ["--json"], ["--last", "3"]):
        result = threadlog("show", "nope", "--url", filled_url, *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "Error: There is no thread 'nope'.\n"


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1", "COLUMNS": "90"}])
def test_stored_text_cannot_steer_the_terminal(
    sqlite_url: str, tmp_path: Path, colours: dict[str, str]
) -> None:
    """Pins that markup is shown as it is and control characters are written out."""
    file = write_lines(tmp_path / "evil.jsonl", EVIL)
    threadlog("import", str(file), "--url", sqlite_url)
    shown = threadlog("show", EVIL_ID, "--url", sqlite_url, **colours).stdout
    listed = threadlog("threads", "--url", sqlite_url, **colours).stdout
    assert "[bold]hi[/bold] \\x1b[2J \\u202eabc" in shown
    assert "世界" in shown
    assert "\\x9b31m" in shown
    assert "[bold]id" in listed
    for harmful in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\x1b[31m[", "f\x1b[0m[b]"):
        assert harmful not in shown + listed
    assert ("\x1b[" in shown) == bool(colours)
    written = threadlog("show", EVIL_ID, "--url", sqlite_url, "--json").stdout
    assert "\\u202eabc" in written
    assert "世界" in written
    assert all(letter == "\n" or letter.isprintable() for letter in written)
    assert json.loads(written)["thread_id"] == EVIL_ID


def test_looking_creates_no_file(tmp_path: Path) -> None:
    """Pins that a mistyped file is told instead of created."""
    url = f"sqlite:///{tmp_path}/none.db"
    for command in (["threads"], ["show", "t"]):
        result = threadlog(*command, "--url", url)
        assert result.exit_code == 1
        assert "There is no file" in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- check and migrate -------------------------------------------------------------


def test_check_reports_line_by_line(mysql_url: str) -> None:
    """Pins one line for each check, and the exit status of a good database."""
    result = threadlog("check", mysql_url)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert len(lines) == 8
    assert all(line.startswith("ok ") for line in lines)


def test_check_writes_json_for_programs(mysql_database: str) -> None:
    """Pins the JSON and the exit status of an empty database."""
    result = threadlog("check", mysql_database, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["ok"] is False
    assert [f["check"] for f in report["findings"] if f["status"] == "error"] == ["schema"]


def test_migrate_makes_an_empty_database_good(mysql_database: str) -> None:
    """Pins migrate, that it may be run again, and that it shows SQL on demand."""
    sql = threadlog("migrate", mysql_database, "--sql")
    assert "cubepi_messages" in sql.stdout
    assert threadlog("check", mysql_database).exit_code == 1
    for _ in range(2):
        done = threadlog("migrate", mysql_database)
        assert done.exit_code == 0, done.stderr
        assert "has the schema of version 5." in done.stdout
    assert threadlog("check", mysql_database).exit_code == 0


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_the_url_may_be_argument_or_option(command: str, tmp_path: Path) -> None:
    """Pins both ways, that the argument precedes the environment, and no contradiction."""
    url, other = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/other.db"
    threadlog("migrate", url)
    for arguments in ([url], ["--url", url], [url, "--url", url]):
        assert threadlog(command, *arguments, THREADLOG_URL=other).exit_code == 0
    for environment in ({}, {"THREADLOG_URL": other}):
        result = threadlog(command, url, "--url", other, **environment)
        assert result.exit_code == 2
        assert "given twice" in result.stderr
    assert not (tmp_path / "other.db").exists()


def test_migrate_tells_what_it_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins that the default is named: nobody wrote it."""
    monkeypatch.chdir(tmp_path)
    assert "sqlite:///threadlog.db " in threadlog("migrate").stdout
    assert (tmp_path / "threadlog.db").exists()


# --- all ---------------------------------------------------------------------------


def test_the_url_comes_from_the_environment_or_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins the two defaults."""
    monkeypatch.chdir(tmp_path)
    threadlog("import", str(SAMPLE), THREADLOG_URL=f"sqlite:///{tmp_path}/other.db")
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "threadlog.db").exists()
    threadlog("import", str(SAMPLE))
    assert (tmp_path / "threadlog.db").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_an_example_and_tells_no_url(command: str) -> None:
    """Pins an example in each command's help, and that the environment stays private."""
    result = threadlog(command, "--help", THREADLOG_URL="mysql://root:geheim@localhost/app")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"threadlog {command}" in result.stdout
    assert "geheim" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["threads", "--url", "mysql://root:geheim@127.0.0.1:x/app"],
        ["threads", "mysql://root:geheim@127.0.0.1/app"],
        ["show", "mysql://root:gehe@im@127.0.0.1/app", "--url", "sqlite://"],
        ["mysql://root:geheim@127.0.0.1/app"],
        ["import", "mysql://root:geheim@127.0.0.1/app"],
        ["check", "mysql://root:geheim@127.0.0.1:1/app"],
        ["check", "mysql://root:geheim@127.0.0.1:1/app", "--json"],
        ["check", "mysql://root@127.0.0.1:1/app?password=geheim"],
        ["check", "oracle://root:geheim@127.0.0.1:1/app"],
        ["migrate", "mysql://root:geheim@127.0.0.1:1/app"],
        ["migrate", "mysql://root:geheim@127.0.0.1:x/app", "--sql"],
    ],
)
def test_a_password_is_never_shown(arguments: list[str]) -> None:
    """Pins it for right and wrong uses; each fails without a traceback."""
    done = as_process(*arguments)
    assert done.returncode in {1, 2}
    assert done.stdout + done.stderr
    assert "geheim" not in done.stdout + done.stderr
    assert "im@" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_one_line() -> None:
    """Pins how an error of the database is told by the check."""
    done = as_process("check", "mysql://root@127.0.0.1:1/app")
    assert done.returncode == 1
    assert done.stdout.startswith("error   connection  2003: ")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_missing_table_is_one_line_that_leads_to_the_check(filled_url: str) -> None:
    """Pins that no cause is spoken of, which a command does not show."""
    asyncio.run(on_connection(filled_url, _drop_messages))
    result = threadlog("show", "sample/weather", "--url", filled_url)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(". Run: threadlog check URL\n")
    assert "cause" not in result.stderr


def _drop_messages(connection: Connection) -> None:
    connection.exec_driver_sql("DROP TABLE cubepi_messages")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["threads"], 0),
        (["show", "sample/weather"], 0),
        (["show", "sample/weather", "--json"], 0),
        (["check"], 0),
        (["check", "sqlite:///none.db"], 1),
        (["import", str(SAMPLE)], 0),
        (["import", os.devnull, "--json"], 0),
        (["migrate", "--sql"], 0),
    ],
)
def test_a_reader_that_leaves_is_no_failure(
    sqlite_url: str, arguments: list[str], status: int
) -> None:
    """Pins that ``| head`` fails no script, and hides no status that was asked for."""
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "threadlog", *arguments],
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
        env=os.environ | {"THREADLOG_URL": sqlite_url},
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (status, b"")


def test_the_version_is_shown() -> None:
    """Pins ``python -m threadlog --version``."""
    done = as_process("--version")
    assert (done.returncode, done.stdout) == (0, "threadlog 0.1.0\n")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_package_is_named(package: str) -> None:
    """Pins the words and the exit status where the extra is not installed."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; from threadlog.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'threadlog[cli]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_entry_point_loads_neither_typer_nor_rich() -> None:
    """Pins that the packages are loaded when the command runs."""
    modules = "threadlog, threadlog.__main__, threadlog.importing, threadlog.checking"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"typer", "rich"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysql://u:p@ss@h/d", "mysql://u:***@h/d"),
        ("mysql://:p@h/d", "mysql://:***@h/d"),
        ("mysql://u@h:3306/d?charset=x", "mysql://u@h:3306/d?charset=x"),
        ("mysql://h/d?user=u&PASSWORD=p&a=b", "mysql://h/d?user=u&PASSWORD=***&a=b"),
        ("nothing: to@hide", "nothing: to@hide"),
    ],
)
def test_passwords_of_urls_are_blotted_out(text: str, expected: str) -> None:
    """Pins what is taken for a password."""
    assert without_password(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x00\x7f\x85\u2028\ufeff", "\\x00\\x7f\\x85\\u2028\\ufeff"),
        ("é 世界 👩\u200d👧", "é 世界 👩\u200d👧"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    """Pins which characters stay."""
    assert printable(text) == expected
