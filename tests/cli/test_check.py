"""``threadlog check``, as people and programs see it."""

import json

from tests.cli.helpers import as_process, threadlog


def test_check_reports_line_by_line(innodb_url: str) -> None:
    """Pins one line for each check, and the exit status of a good database."""
    result = threadlog("check", innodb_url)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert len(lines) == 8
    assert all(line.startswith("ok ") for line in lines)


def test_check_writes_json_for_programs(innodb_database: str) -> None:
    """Pins the JSON and the exit status of an empty database."""
    result = threadlog("check", innodb_database, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["ok"] is False
    assert [f["check"] for f in report["findings"] if f["status"] == "error"] == ["schema"]


def test_a_server_that_is_not_there_is_one_line() -> None:
    """Pins how an error of the database is told by the check."""
    done = as_process("check", "mysql://root@127.0.0.1:1/app")
    assert done.returncode == 1
    assert done.stdout.startswith("error   connection  2003: ")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_check_looks_at_the_parts_that_are_there(innodb_database: str) -> None:
    """Pins the lines of each part, and of one alone for who asks for it."""
    threadlog("migrate", innodb_database, "--part", "graph")
    assert len(threadlog("check", innodb_database).stdout.splitlines()) == 7
    threadlog("migrate", innodb_database)
    assert len(threadlog("check", innodb_database).stdout.splitlines()) == 13
    alone = threadlog("check", innodb_database, "--part", "messages")
    assert len(alone.stdout.splitlines()) == 8
    assert "graph" not in alone.stdout
    assert alone.exit_code == 0
