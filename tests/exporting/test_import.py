"""Files of exports that are refused, and threads that are."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.cli.helpers import threadlog, write_lines
from tests.exporting.helpers import all_rows, export, imported, migrated, refusal, run_graph
from tests.support.ends import fill, rows_of, say
from threadlog import Checkpointer
from threadlog.cli.copy import Bars
from threadlog.models import GRAPH, MESSAGES

Line = dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a database that has forks and the state of a graph, and its export."""
    folder = tmp_path_factory.mktemp("exported")
    url = f"sqlite:///{folder}/threadlog.db"
    asyncio.run(fill(url))
    asyncio.run(run_graph(url, "g"))
    export(url, folder / "a.jsonl")
    return folder


@pytest.fixture
def file(exported: Path, sqlite_url: str, tmp_path: Path) -> Path:
    """Return a copy of the export, whose database is copied to `sqlite_url`."""
    copyfile(exported / "threadlog.db", make_url(sqlite_url).database or "")
    return copyfile(exported / "a.jsonl", tmp_path / "a.jsonl")


def _lines(file: Path) -> list[Line]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def _cut(lines: list[Line]) -> list[Line]:
    return lines[:-1]


def _shortened(lines: list[Line]) -> list[Line]:
    return [*lines[:3], *lines[4:]]


def _followed(lines: list[Line]) -> list[Line]:
    return [*lines, lines[1]]


def _twice(lines: list[Line]) -> list[Line]:
    return [*lines[:-1], lines[1], {**lines[-1], "lines": len(lines)}]


def _changed(**values: Any) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: [lines[0], {**lines[1], **values}, *lines[2:]]


def _without(name: str) -> Callable[[list[Line]], list[Line]]:
    return lambda lines: [
        lines[0],
        {key: value for key, value in lines[1].items() if key != name},
        *lines[2:],
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_cut, "The file has no last line"),
        (_shortened, "the file has"),
        (_followed, "is after the last line of the export"),
        (_twice, "rows of cubepi_threads with the same key twice"),
        (_changed(type="thing"), "Line 2: The line's type 'thing' is unknown"),
        (_changed(type=["thread"]), "Line 2: The line's type ['thread'] is unknown"),
        (_changed(more=1), "Line 2: The line has the unknown field 'more'"),
        (_without("created_at"), "Line 2: The line has no field 'created_at'"),
        (_without("type"), "Line 2: The line is not a JSON object with a type"),
        (_changed(forked_at_seq="1"), "Line 2: The line's field 'forked_at_seq' is not valid"),
        (_changed(forked_at_seq=True), "Line 2: The line's field 'forked_at_seq' is not valid"),
        (_changed(forked_at_seq=2**63), "Line 2: The line's field 'forked_at_seq' is not valid"),
        (_changed(thread_id=None), "Line 2: The line's field 'thread_id' is not valid"),
        (lambda lines: [{**lines[0], "version": 2}, *lines[1:]], "The export has version 2"),
    ],
)
def test_file_that_is_not_a_whole_export_is_refused_as_a_whole(
    file: Path, tmp_path: Path, change: Callable[[list[Line]], list[Line]], reason: str
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    write_lines(file, *change(_lines(file)))
    refused = refusal(file, target)
    assert reason in refused
    assert "Nothing was imported" in refused
    assert not (tmp_path / "target.db").exists()


def test_message_with_invalid_bytes_is_refused_without_its_text(file: Path, tmp_path: Path) -> None:
    lines = _lines(file)
    at = next(place for place, line in enumerate(lines) if line["type"] == "message")
    for value in ({"payload_base64": "secret*"}, {"message": "secret"}, {"message": {"n": 2**70}}):
        write_lines(file, *lines[:at], {**lines[at], **value}, *lines[at + 1 :])
        refused = refusal(file, f"sqlite:///{tmp_path}/target.db")
        assert f"Line {at + 1}: The line's field" in refused
        assert "secret" not in refused


def test_thread_with_other_content_is_named_and_left_unchanged(file: Path, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    asyncio.run(say(target, "M", "other"))
    before = asyncio.run(rows_of(target))
    result = threadlog("import", str(file), "--url", target, "--json")
    assert result.exit_code == 1
    (messages, _) = json.loads(result.stdout)["groups"]
    assert [(fault["thread_id"], fault["kind"]) for fault in messages["faults"]] == [
        ("M", "conflict")
    ]
    assert "delete the thread" in result.stderr
    after = asyncio.run(rows_of(target))
    assert {key: row for key, row in after["cubepi_messages"].items() if key[0] == "M"} == before[
        "cubepi_messages"
    ]
    assert messages["copied"] == 5


def test_import_that_was_broken_off_continues(
    file: Path, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    report, calls = Bars.report, 0

    def break_off(self: Bars, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        report(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Bars, "report", break_off)
        result = threadlog("import", str(file), "--url", target)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Error: Interrupted. Run it again to continue.\n"
    found = len(asyncio.run(rows_of(target))["cubepi_threads"])
    assert 0 < found < 6
    copied, unchanged, _ = imported(file, target)["messages"]
    assert copied + unchanged == 6
    assert unchanged > 0
    assert all_rows(target, MESSAGES, GRAPH) == all_rows(sqlite_url, MESSAGES, GRAPH)


def test_part_that_the_database_lacks_is_named_or_skipped(file: Path, server_url: str) -> None:
    refused = refusal(file, server_url)
    assert "none of threadlog's tables for the state of graphs" in refused
    assert "threadlog migrate" in refused
    assert asyncio.run(rows_of(server_url))["cubepi_threads"] == {}
    result = threadlog("import", str(file), "--url", server_url, "--part", "messages")
    assert result.exit_code == 0
    rows = sum(line["type"].startswith("checkpoint") for line in _lines(file))
    assert result.stdout.splitlines()[-1] == f"Skipped {rows} rows of the part graph."


def test_owner_of_an_import_is_that_of_threads_without_one(file: Path, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    imported(file, target, "--owner", "ann")

    async def owners() -> set[str | None]:
        async with Checkpointer(target) as checkpointer:
            return {thread.owner for thread in await checkpointer.list_threads()}

    assert asyncio.run(owners()) == {"ann"}
    export(target, tmp_path / "b.jsonl")
    other = f"sqlite:///{tmp_path}/other.db"
    refused = refusal(tmp_path / "b.jsonl", other, "--owner", "bob")
    assert "'M' has another owner in the file" in refused
    imported(tmp_path / "b.jsonl", other, "--owner", "ann")
    # In a database where they belong to another owner, they stay there.
    third = f"sqlite:///{tmp_path}/third.db"
    imported(file, third, "--owner", "bob")
    result = threadlog("import", str(tmp_path / "b.jsonl"), "--url", third)
    assert (result.exit_code, result.stdout.count("conflict: thread")) == (1, 0)
    assert result.stderr.count("conflict: thread") == 6


@pytest.mark.parametrize("option", [("--format", "openai_chat"), ("--part", "graph")])
def test_options_of_other_files_are_refused(
    file: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    url = f"sqlite:///{tmp_path}/target.db"
    given = file
    if option[0] == "--part":
        given = write_lines(tmp_path / "b.jsonl", {"messages": [{"role": "user", "content": "a"}]})
    result = threadlog("import", str(given), "--url", url, *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr


def test_long_export_is_imported_in_batches(
    file: Path, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threadlog.importing.stage_export._ROWS", 2)
    monkeypatch.setattr("threadlog.importing.stage_export._THREADS_AT_ONCE", 2)
    target = migrated(f"sqlite:///{tmp_path}/target.db")
    imported(file, target, "--owner", "ann")
    assert all_rows(target, MESSAGES, GRAPH) == all_rows(sqlite_url, MESSAGES, GRAPH)
