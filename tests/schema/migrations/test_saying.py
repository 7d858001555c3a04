"""The output of a migration."""

import asyncio
import logging

import pytest
from typer.testing import CliRunner

from tests.schema.migrations.running import lose
from tests.support.schemas import (
    OWN_TABLE,
    run,
)
from threadlog import migrating
from threadlog.cli import app
from threadlog.models import GRAPH, MESSAGES


def test_the_command_says_what_happened(empty_url: str) -> None:
    said = []
    for lost in ("", "version row", ""):
        if lost:
            asyncio.run(lose(empty_url, MESSAGES, lost))
        result = CliRunner().invoke(app, ["migrate", empty_url])
        assert (result.exit_code, result.stderr) == (0, "")
        assert "has the schema of version 5." in result.stdout
        said.append(result.stdout.split(":")[0])
    assert said == ["Created the tables", "Created what was missing", "Nothing to do"]


def test_the_command_says_it_for_each_part(empty_url: str) -> None:
    first = CliRunner().invoke(app, ["migrate", empty_url, "--part", "graph"])
    asyncio.run(lose(empty_url, GRAPH, "version row"))
    every = CliRunner().invoke(app, ["migrate", empty_url])
    again = CliRunner().invoke(app, ["migrate", empty_url, "--part", "messages"])
    said = [
        (line.split(":")[0], " ".join(line.split()[-3:]))
        for line in (first.stdout + every.stdout + again.stdout).splitlines()
    ]
    assert said == [
        ("Created the tables", "of version 1."),
        ("Created the tables", "of version 5."),
        ("Created what was missing", "of version 1."),
        ("Created the tables", "of version 1."),
        ("Created the tables", "of version 1."),
        ("Created the tables", "of version 1."),
        ("Nothing to do", "of version 5."),
    ]
    assert "graph state's schema" in first.stdout
    assert "memory store's schema" in every.stdout
    assert "thread control's schema" in every.stdout
    assert "server metadata's schema" in every.stdout


def test_what_was_done_is_said_before_an_error(empty_url: str) -> None:
    asyncio.run(run(empty_url, "CREATE TABLE app_runs (run_id INT PRIMARY KEY)"))
    result = CliRunner().invoke(app, ["migrate", empty_url])
    assert result.exit_code == 1
    assert result.stdout.startswith("Created the tables: ")
    assert "data tables (app_runs) but no version table" in result.stderr


def test_an_unknown_part_is_a_usage_error() -> None:
    """A misspelt part is told with the known ones."""
    result = CliRunner().invoke(app, ["migrate", "sqlite://", "--part", "graphs"])
    assert result.exit_code == 2
    assert "'messages'" in result.stderr


def test_the_command_says_what_its_script_is_for() -> None:
    result = CliRunner().invoke(app, ["migrate", "--help"], env={"COLUMNS": "200"})
    assert "for an empty database" in result.stdout


async def test_migrating_prints_and_logs_nothing(
    empty_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither Alembic nor a driver's warning reaches a terminal."""
    await migrating.upgrade(empty_url)
    await run(empty_url, f"DROP TABLE {OWN_TABLE}", "DROP TABLE cubepi_runs")
    await migrating.upgrade(empty_url)
    await run(empty_url, f"DROP TABLE {GRAPH.revision_table}", "DROP TABLE threadlog_checkpoints")
    await migrating.upgrade(empty_url)
    await run(empty_url, "DROP TABLE cubepi_runs")
    await migrating.downgrade(empty_url)
    migrating.upgrade_sql(empty_url)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
