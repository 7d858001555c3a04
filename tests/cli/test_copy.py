"""``threadlog copy``, as people and programs see it; what it does is in tests/copying."""

import asyncio
import json
import os
import pty
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli.helpers import SAMPLE, threadlog
from tests.support.databases import execute
from tests.support.ends import Ends, change, rows_of, say
from tests.support.processes import run_python
from threadlog.langgraph import Store
from threadlog.models import Message, Thread


@pytest.fixture
def filled(ends: Ends) -> Ends:
    """Return a source into which the sample was imported, and an empty target."""
    assert threadlog("import", str(SAMPLE), "--url", ends.source).exit_code == 0
    return ends


def succeed(*arguments: str, **environment: str) -> list[str]:
    """Run a copy that succeeds without faults; return the lines that it printed."""
    result = threadlog("copy", *arguments, **environment)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def refused(*arguments: str) -> str:
    """Run a copy that is refused with one line; return the line."""
    result = threadlog("copy", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_copy_prints_what_it_did(filled: Ends) -> None:
    assert succeed(*filled) == [
        "messages: 3 copied (15 rows), 0 unchanged, 0 bad",
        "Compared: the target has all threads as in the source.",
    ]
    assert succeed(*filled) == [
        "messages: 0 copied (0 rows), 3 unchanged, 0 bad",
        "Nothing to do: the target has all threads already.",
    ]
    assert succeed(*filled, "--compare") == [
        "messages: 3 the same, 0 bad",
        "Compared: the target has all threads as in the source.",
    ]


def test_copy_of_memories_is_printed_as_items(sqlite_url: str, second_sqlite_url: str) -> None:
    def put(url: str, **value: str) -> None:
        with Store(url) as store:
            store.put(("acme", "users"), "k", value)

    ends = Ends(sqlite_url, second_sqlite_url)
    put(ends.source, of="source")
    assert succeed(*ends) == [
        "memories: 1 copied (1 rows), 0 unchanged, 0 bad",
        "Compared: the target has all items as in the source.",
    ]
    asyncio.run(say(ends.source, "t", "a"))
    assert succeed(*ends)[2] == "Compared: the target has all threads and items as in the source."
    put(ends.target, of="target")
    result = threadlog("copy", *ends, "--part", "store")
    assert result.exit_code == 1
    assert "conflict: item ('acme', 'users') 'k': threadlog_store" in result.stdout + result.stderr


def test_copy_of_some_threads_says_so(filled: Ends) -> None:
    options = ("--thread", "sample/weather", "--thread", "sample/picture")
    conclusion = "Compared: the target has these threads as in the source."
    assert succeed(*filled, *options)[1] == conclusion
    listed = json.loads(threadlog("threads", "--url", filled.target, "--json").stdout)
    assert {thread["thread_id"] for thread in listed} == {"sample/weather", "sample/picture"}


def test_copy_of_nothing_says_so(ends: Ends) -> None:
    threadlog("migrate", ends.source, "--part", "messages")
    assert succeed(*ends)[1] == "The source has no threads."


def test_conflicts_are_reported_and_the_rest_is_copied(filled: Ends) -> None:
    asyncio.run(say(filled.target, "sample/weather", "something else"))
    asyncio.run(change(filled.target, Thread, ("sample/weather",), created_at=5))
    result = threadlog("copy", *filled)
    assert result.exit_code == 1
    assert result.stdout == "messages: 2 copied (9 rows), 0 unchanged, 1 bad\n"
    line, advice = result.stderr.splitlines()
    assert line.startswith("conflict: thread 'sample/weather': cubepi_threads: ")
    assert advice.startswith("conflict: The target keeps its own content. To replace it ")
    assert "; cubepi_messages seq 1: " in line
    result = threadlog("copy", *filled, "--compare")
    assert result.exit_code == 1
    assert result.stdout == "messages: 2 the same, 1 bad\n"
    line, advice = result.stderr.splitlines()
    assert line.startswith("different: thread 'sample/weather': ")
    assert advice.startswith("different: Run threadlog copy again, without --compare.")


def test_a_byte_that_differs_is_named(filled: Ends) -> None:
    """The comparison can fail, and names the row."""
    succeed(*filled)
    key = ("sample/weather", 2)
    payload = asyncio.run(rows_of(filled.target))["cubepi_messages"][key]["payload"]
    edited = payload[:-1] + bytes([payload[-1] ^ 1])
    asyncio.run(change(filled.target, Message, key, payload=edited))
    for options, kind in (((), "conflict"), (("--compare",), "different")):
        result = threadlog("copy", *filled, *options)
        assert result.exit_code == 1
        expected = f"{kind}: thread 'sample/weather': cubepi_messages seq 2: payload differs\n"
        assert result.stderr.startswith(expected)


def test_copy_writes_json_for_programs(filled: Ends) -> None:
    result = threadlog("copy", *filled, "--json", "--thread", "none", "--thread", "sample/weather")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "source": filled.source,
        "target": filled.target,
        "compared_only": False,
        "same": False,
        "groups": [
            {
                "group": "messages",
                "total": 2,
                "threads": 2,
                "copied": 1,
                "unchanged": 0,
                "rows": 6,
                "faults": [
                    {
                        "thread_id": "none",
                        "kind": "missing",
                        "reasons": ["the source has no such thread"],
                    }
                ],
            }
        ],
    }
    assert json.loads(threadlog("copy", *filled, "--json").stdout)["same"] is True
    assert json.loads(threadlog("copy", *filled, "--json", "--compare").stdout) == {
        "source": filled.source,
        "target": filled.target,
        "compared_only": True,
        "same": True,
        "groups": [
            {
                "group": "messages",
                "total": 3,
                "threads": 3,
                "copied": 0,
                "unchanged": 3,
                "rows": 0,
                "faults": [],
            }
        ],
    }


@pytest.mark.processes
def test_copy_shows_its_progress_on_a_terminal(sqlite_url: str, second_sqlite_url: str) -> None:
    """The bar is on standard error, and only if that is a terminal."""
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    ours, theirs = pty.openpty()
    done = run_python(
        *("-m", "threadlog", "copy", sqlite_url, second_sqlite_url, "--json"),
        stderr=theirs,
        environment={"TERM": "xterm-256color", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "messages" in shown
    assert "3/3" in shown
    assert "15 rows" in shown
    assert done.returncode == 0
    assert json.loads(done.stdout)["same"] is True


def test_the_urls_may_come_from_the_environment(sqlite_url: str, second_sqlite_url: str) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    variables = {"THREADLOG_SOURCE_URL": sqlite_url, "THREADLOG_TARGET_URL": second_sqlite_url}
    assert succeed(**variables)[0].startswith("messages: 3 copied")
    assert threadlog("copy", sqlite_url).exit_code == 2
    shown = threadlog("copy", "--help", **dict.fromkeys(variables, "mysql://a:geheim@h/d"))
    assert "geheim" not in shown.output


def test_one_database_at_both_ends_is_refused(
    sqlite_url: str, sqlite_folder: Path, mysql_url: str
) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    (sqlite_folder / "link.db").symlink_to(sqlite_folder / "threadlog.db")
    for ends in (
        (sqlite_url, sqlite_url),
        (sqlite_url, f"sqlite:///{sqlite_folder}/link.db"),
        (sqlite_url, f"sqlite+aiosqlite:///{sqlite_folder}/../{sqlite_folder.name}/threadlog.db"),
        (mysql_url, mysql_url),
        (mysql_url, mysql_url.replace("127.0.0.1", "localhost")),
        (mysql_url, f"{mysql_url}?connect_timeout=5"),
        (mysql_url, mysql_url.replace("mysql:", "mariadb:")),
        ("mysql://root@127.0.0.1/app", "mysql://127.0.0.1:3306/app"),
    ):
        assert refused(*ends).startswith("Error: The source and the target are the same database")


def test_the_end_that_cannot_be_used_is_named(
    sqlite_url: str, mysql_database: str, tmp_path: Path
) -> None:
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    nowhere = f"sqlite:///{tmp_path}/none.db"
    assert refused(nowhere, mysql_database) == (
        f"Error: The source, {nowhere}: There is no file '{tmp_path}/none.db'."
    )
    assert refused(sqlite_url, nowhere, "--compare") == (
        f"Error: The target, {nowhere}: There is no file '{tmp_path}/none.db'."
    )
    assert not (tmp_path / "none.db").exists()
    line = refused(sqlite_url, mysql_database)
    assert line.startswith(f"Error: The target, {mysql_database}: The database has none of")
    assert "threadlog migrate URL" in line
    line = refused(mysql_database, nowhere)
    assert line.startswith(f"Error: The source, {mysql_database}: The database has none of")
    line = refused(sqlite_url, "mysql://root:geheim@127.0.0.1:1/app?retry_seconds=0")
    assert line.startswith("Error: The target, mysql://root:***@127.0.0.1:1/app: ")
    assert "Check that the server runs" in line
    assert refused("oracle://h/d", nowhere).startswith("Error: The source, oracle://h/d: ")
    line = refused(f"{mysql_database}?nonsense=1", nowhere)
    assert line.startswith("Error: The source, ")
    assert "nonsense" in line
    assert not (tmp_path / "none.db").exists()


def test_a_part_that_the_target_lacks_is_named(sqlite_url: str, mysql_url: str) -> None:
    """A target without the state of graphs is told so, and can be left at that."""
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    threadlog("migrate", sqlite_url)
    assert threadlog("copy", sqlite_url, mysql_url).exit_code == 0  # no graph was kept there
    asyncio.run(
        execute(sqlite_url, "INSERT INTO threadlog_checkpoint_blobs VALUES (1,2,3,4,5,6,7)")
    )
    line = refused(sqlite_url, mysql_url)
    assert line.startswith(f"Error: The target, {mysql_url}: The database has none of")
    assert "graphs" in line
    assert succeed(sqlite_url, mysql_url, "--part", "messages")


def test_an_old_schema_is_refused(sqlite_url: str, second_sqlite_url: str) -> None:
    """Nothing is copied between two versions."""
    threadlog("import", str(SAMPLE), "--url", sqlite_url)
    asyncio.run(execute(sqlite_url, "UPDATE cubepi_schema_version SET version = 4"))
    assert "schema version 4; 5 is needed" in refused(sqlite_url, second_sqlite_url)


def _both(result: Result) -> str:
    return result.stdout + result.stderr


def test_ids_cannot_steer_the_terminal(sqlite_url: str, second_sqlite_url: str) -> None:
    """Control characters of ids are written out where they are reported."""
    evil = "evil\x1b[31m[bold]id"
    asyncio.run(say(sqlite_url, evil, "a"))
    asyncio.run(say(second_sqlite_url, evil, "b"))
    for options in ((), ("--json",)):
        shown = _both(threadlog("copy", sqlite_url, second_sqlite_url, *options))
        assert "[bold]id" in shown
        assert "\x1b" not in shown
