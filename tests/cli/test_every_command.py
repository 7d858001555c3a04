"""Tests that concern several commands, or all."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.cli.helpers import SAMPLE, ask, claim, threadlog, write_lines
from tests.support.databases import on_connection
from tests.support.processes import run_python
from tests.support.schemas import run, tables
from threadlog import cli
from threadlog.__main__ import main

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database

COMMANDS = [
    "import",
    "threads",
    "show",
    "runs",
    "release",
    "prune",
    "erase",
    "copy",
    "export",
    "check",
    "migrate",
    "index",
]

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


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_an_example_and_prints_no_url(command: str) -> None:
    result = threadlog(command, "--help", THREADLOG_URL="mysql://root:geheim@localhost/app")
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"threadlog {command}" in result.stdout
    assert "geheim" not in result.output


def test_the_url_comes_from_the_environment_or_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    threadlog("import", str(SAMPLE), THREADLOG_URL=f"sqlite:///{tmp_path}/other.db")
    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "threadlog.db").exists()
    threadlog("import", str(SAMPLE))
    assert (tmp_path / "threadlog.db").exists()


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_the_url_may_be_argument_or_option(command: str, tmp_path: Path) -> None:
    url, other = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/other.db"
    threadlog("migrate", url)
    for arguments in ([url], ["--url", url], [url, "--url", url]):
        assert threadlog(command, *arguments, THREADLOG_URL=other).exit_code == 0
    for environment in ({}, {"THREADLOG_URL": other}):
        result = threadlog(command, url, "--url", other, **environment)
        assert result.exit_code == 2
        assert "name different databases" in result.stderr
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", str(SAMPLE)],
        ["threads"],
        ["show", "t"],
        ["runs", "t"],
        ["release", "t", "r"],
        ["prune", "--older-than", "1d"],
        ["erase", "--thread", "t", "--yes"],
        ["copy", "sqlite:///a.db", "sqlite:///b.db"],
        ["export"],
        ["check"],
        ["migrate"],
        ["index"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_ends_each_command_with_130(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(work: Coroutine[Any, Any, Any]) -> None:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", break_off)
    result = threadlog(*arguments)
    assert (result.exit_code, result.stdout) == (130, "")


def test_looking_creates_no_file(tmp_path: Path) -> None:
    """A mistyped file is told instead of created."""
    url = f"sqlite:///{tmp_path}/none.db"
    looking = (["threads"], ["show", "t"], ["runs", "t"], ["runs", "--stale", "1h"])
    for command in (*looking, ["release", "t", "r"]):
        result = threadlog(*command, "--url", url)
        assert result.exit_code == 1
        assert "There is no file" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_creates_no_table_in_an_applications_database(empty_url: str) -> None:
    asyncio.run(run(empty_url, "CREATE TABLE orders (id INT PRIMARY KEY)"))
    looking = (["threads"], ["show", "t"], ["runs", "t"], ["runs", "--stale", "1h"])
    for command in (*looking, ["release", "t", "r"], ["prune", "--older-than", "1d", "--dry-run"]):
        result = threadlog(*command, "--url", empty_url)
        assert result.exit_code == 1
        assert "has none of threadlog's tables" in result.stderr
        assert "Run: threadlog migrate URL" in result.stderr
    assert asyncio.run(tables(empty_url)) == {"orders"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["threads", "--url", "mysql://root:geheim@127.0.0.1:x/app"],
        ["threads", "mysql://root:geheim@127.0.0.1/app"],
        ["show", "mysql://root:gehe@im@127.0.0.1/app", "--url", "sqlite://"],
        ["mysql://root:geheim@127.0.0.1/app"],
        ["import", "mysql://root:geheim@127.0.0.1/app"],
        ["runs", "mysql://root:geheim@127.0.0.1/app", "--url", "sqlite://"],
        ["runs", "--stale", "mysql://root:geheim@127.0.0.1/app"],
        ["release", "t", "mysql://root:geheim@127.0.0.1/app", "--url", "sqlite://"],
        ["check", "mysql://root:geheim@127.0.0.1:1/app"],
        ["check", "mysql://root:geheim@127.0.0.1:1/app", "--json"],
        ["check", "mysql://root@127.0.0.1:1/app?password=geheim"],
        ["check", "oracle://root:geheim@127.0.0.1:1/app"],
        ["copy", "mysql://root:geheim@127.0.0.1:1/app?retry_seconds=0", "sqlite:///none.db"],
        ["copy", "mysql://root:geheim@127.0.0.1:x/app", "sqlite:///none.db", "--json"],
        ["copy", "mysql://root:geheim@127.0.0.1/app", "mysql://root:geheim@127.0.0.1/app"],
        ["copy", "mysql://root:geheim@127.0.0.1/app"],
        ["migrate", "mysql://root:geheim@127.0.0.1:1/app"],
        ["migrate", "mysql://root:geheim@127.0.0.1:x/app", "--sql"],
    ],
)
def test_a_password_is_never_shown(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No exception passes the entry point, so that there is no traceback either."""
    monkeypatch.setattr(sys, "argv", ["threadlog", *arguments])
    monkeypatch.setattr(cli, "prepare_stdout", lambda: None)  # capsys has no file descriptor
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {1, 2}
    shown = "".join(capsys.readouterr())
    assert shown
    assert "geheim" not in shown
    assert "im@" not in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("colours", [{}, {"FORCE_COLOR": "1", "COLUMNS": "90"}])
def test_stored_text_cannot_steer_the_terminal(
    sqlite_url: str, tmp_path: Path, colours: dict[str, str]
) -> None:
    """Markup is shown as it is and control characters are written out."""
    file = write_lines(tmp_path / "evil.jsonl", EVIL)
    threadlog("import", str(file), "--url", sqlite_url)
    claim(sqlite_url, EVIL_ID, EVIL_ID, f"{EVIL_ID}2")
    ask(sqlite_url, EVIL_ID, EVIL_ID, question_id="q\x07[b]", payload={"\x9b31m": "[/x]\u202e"})
    shown = threadlog("show", EVIL_ID, "--url", sqlite_url, **colours).stdout
    listed = threadlog("threads", "--url", sqlite_url, **colours).stdout
    listed += threadlog("runs", EVIL_ID, "--url", sqlite_url, **colours).stdout
    listed += threadlog("runs", "--stale", "0m", "--url", sqlite_url, **colours).stdout
    listed += threadlog("release", EVIL_ID, EVIL_ID, "--url", sqlite_url, **colours).stderr
    forced = threadlog("release", EVIL_ID, EVIL_ID, "--url", sqlite_url, "--force", **colours)
    listed += forced.stdout
    assert "[bold]hi[/bold] \\x1b[2J \\u202eabc" in shown
    assert "世界" in shown
    assert "\\x9b31m" in shown
    assert listed.count("[bold]id") == 9
    assert "q\\x07[b]" in shown
    for harmful in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\x9b", "\x1b[31m[", "f\x1b[0m[b]"):
        assert harmful not in shown + listed
    assert ("\x1b[" in shown) == bool(colours)
    written = threadlog("show", EVIL_ID, "--url", sqlite_url, "--json").stdout
    assert "\\u202eabc" in written
    assert "世界" in written
    assert all(letter == "\n" or letter.isprintable() for letter in written)
    assert json.loads(written)["thread_id"] == EVIL_ID


def test_a_missing_table_is_one_line_that_leads_to_the_check(filled_url: str) -> None:
    """No cause is spoken of, which a command does not show."""
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
        (["runs", "sample/weather", "--json"], 0),
        (["check"], 0),
        (["check", "sqlite:///none.db"], 1),
        (["import", str(SAMPLE)], 0),
        (["import", os.devnull, "--json"], 0),
        (["migrate", "--sql"], 0),
    ],
)
@pytest.mark.processes
def test_a_reader_that_leaves_is_no_failure(
    sqlite_url: str, arguments: list[str], status: int
) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    ours, theirs = os.pipe()
    os.close(ours)
    done = run_python(
        *("-m", "threadlog", *arguments), stdout=theirs, environment={"THREADLOG_URL": sqlite_url}
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["threads"],
        ["show", "sample/weather"],
        ["show", "sample/weather", "--json"],
        ["export"],
        ["import", str(SAMPLE), "--json"],
    ],
)
@pytest.mark.processes
def test_a_full_disk_is_an_error_in_one_line(sqlite_url: str, arguments: list[str]) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    full = os.open("/dev/full", os.O_WRONLY)
    done = run_python(
        *("-m", "threadlog", *arguments), stdout=full, environment={"THREADLOG_URL": sqlite_url}
    )
    os.close(full)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: Standard output cannot be written: No space left on device. Correct that, then "
        "run the command again.\n"
    )


def test_an_export_to_a_full_disk_names_the_file(sqlite_url: str) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    result = threadlog("export", sqlite_url, "--output", "/dev/full")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /dev/full cannot be written: No space left on device.")


def test_an_export_to_the_database_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    threadlog("import", str(SAMPLE))
    before = Path("threadlog.db").read_bytes()
    Path("link").symlink_to("threadlog.db")
    for name in ("threadlog.db", str(tmp_path / "threadlog.db"), "link"):
        result = threadlog("export", "--output", name)
        assert result.exit_code == 2
        assert "The file is the database. Choose another." in result.stderr
    assert Path("threadlog.db").read_bytes() == before
    assert threadlog("export", "--output", "other").exit_code == 0


@pytest.mark.processes
def test_erase_without_any_standard_input_asks_for_yes(sqlite_url: str) -> None:
    code = "import sys; sys.stdin = None; from threadlog.__main__ import main; main()"
    done = run_python("-c", code, "erase", sqlite_url, "--thread", "sample/weather")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: There is no terminal to ask for confirmation.")
