"""``threadlog check``, as people and programs see it."""

import json

import pytest

from tests.cli.helpers import as_process, threadlog


def test_check_reports_line_by_line(server_url: str) -> None:
    result = threadlog("check", server_url)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert len(lines) == (11 if server_url.startswith("postgresql") else 9)
    assert all(line.startswith("ok ") for line in lines)


def test_check_writes_json_for_programs(server_database: str) -> None:
    result = threadlog("check", server_database, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["ok"] is False
    assert [f["check"] for f in report["findings"] if f["status"] == "error"] == ["schema"]


@pytest.mark.processes
def test_a_server_that_is_not_there_is_one_line() -> None:
    done = as_process("check", "mysql://root@127.0.0.1:1/app")
    assert done.returncode == 1
    assert done.stdout.startswith("error   connection  2003: ")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_check_looks_at_the_parts_that_are_there(server_database: str) -> None:
    graph, every, messages = (9, 39, 11) if server_database.startswith("postgresql") else (8, 33, 9)
    threadlog("migrate", server_database, "--part", "graph")
    assert len(threadlog("check", server_database).stdout.splitlines()) == graph
    threadlog("migrate", server_database)
    assert len(threadlog("check", server_database).stdout.splitlines()) == every
    alone = threadlog("check", server_database, "--part", "messages")
    assert len(alone.stdout.splitlines()) == messages
    assert "graph" not in alone.stdout
    assert alone.exit_code == 0
