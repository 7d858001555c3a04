"""``threadlog migrate``, as people and programs see it."""

import os
from pathlib import Path

import pytest

from tests.cli.helpers import threadlog
from tests.support.processes import run_python


def test_migrate_makes_an_empty_database_good(server_database: str) -> None:
    sql = threadlog("migrate", server_database, "--sql")
    assert "cubepi_messages" in sql.stdout
    assert threadlog("check", server_database).exit_code == 1
    for _ in range(2):
        done = threadlog("migrate", server_database)
        assert done.exit_code == 0, done.stderr
        assert "has the schema of version 5." in done.stdout
    assert threadlog("check", server_database).exit_code == 0


def test_migrate_prints_what_it_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is named: nobody wrote it."""
    monkeypatch.chdir(tmp_path)
    assert "sqlite:///threadlog.db " in threadlog("migrate").stdout
    assert (tmp_path / "threadlog.db").exists()


def test_migrate_makes_the_part_that_is_named(server_database: str) -> None:
    sql = threadlog("migrate", server_database, "--part", "graph", "--sql")
    assert "threadlog_checkpoints" in sql.stdout
    assert "cubepi" not in sql.stdout
    done = threadlog("migrate", server_database, "--part", "graph")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("has the graph state's schema of version 1.")
    assert len(done.stdout.splitlines()) == 1
    assert threadlog("check", server_database, "--part", "messages").exit_code == 1
    assert threadlog("check", server_database, "--part", "graph").exit_code == 0


@pytest.mark.one_database
@pytest.mark.processes
def test_migrate_creates_all_parts_though_its_reader_leaves(tmp_path: Path) -> None:
    """As in ``threadlog migrate | head -1``: the first line is written after the first part."""
    url = f"sqlite:///{tmp_path / 'left.db'}"
    ours, theirs = os.pipe()
    os.close(ours)
    done = run_python("-m", "threadlog", "migrate", url, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")
    again = threadlog("migrate", url).stdout.splitlines()
    assert [line.partition(":")[0] for line in again] == ["Nothing to do"] * 5
