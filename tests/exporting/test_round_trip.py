"""Exports that are imported into databases of each kind, and are equal there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import threadlog
from tests.exporting.helpers import (
    NO_MESSAGE,
    PARTS,
    all_rows,
    export,
    fill_everything,
    imported,
    migrated,
    run_graph,
    same_rows,
)
from tests.support.conversations import FILES, conversations, first_conversations
from tests.support.databases import execute
from tests.support.ends import Ends, say
from threadlog.copying.copy import compare_databases


def faults(ends: Ends) -> list[Any]:
    """Compare two databases; return the differences."""
    return [fault for group in asyncio.run(compare_databases(*ends)) for fault in group.faults]


@pytest.mark.processes
def test_export_of_everything_is_equal_in_another_database_and_back(
    whole_url: str, tmp_path: Path
) -> None:
    source, back = (migrated(f"sqlite:///{tmp_path}/{name}.db") for name in ("source", "back"))
    target = whole_url
    # What differs between databases is in the first ones too.
    some = conversations if whole_url.startswith("sqlite") else first_conversations
    for file in FILES:
        assert threadlog("import", str(some(file, tmp_path)), "--url", source).exit_code == 0
    asyncio.run(fill_everything(source))
    rows = all_rows(source)
    empty = {"threadlog_leases", "threadlog_write_owners"}  # of the workers of the source
    assert {name for name, found in rows.items() if not found} == empty

    exported = export(source, tmp_path / "there.jsonl")
    assert exported[0]["parts"] == [part.name for part in PARTS]
    assert exported[-1]["lines"] == len(exported) - 1 == sum(map(len, rows.values())) + 1
    first = imported(tmp_path / "there.jsonl", target)
    assert sum(count for _, _, count in first.values()) == len(exported) - 2
    assert same_rows(source, target, rows)
    assert faults(Ends(source, target)) == []
    again = imported(tmp_path / "there.jsonl", target)
    assert {name: (copied, rows) for name, (copied, _, rows) in again.items()} == dict.fromkeys(
        first, (0, 0)
    )
    assert same_rows(source, target, rows)

    export(target, tmp_path / "back.jsonl")
    imported(tmp_path / "back.jsonl", back)
    assert all_rows(back) == rows
    state = asyncio.run(run_graph(source, "m"))
    assert state["data"]
    assert asyncio.run(run_graph(back, "m")) == state


def test_payload_that_is_no_message_is_exported_as_bytes(sqlite_url: str, tmp_path: Path) -> None:
    migrated(sqlite_url)
    asyncio.run(fill_everything(sqlite_url))
    lines = export(sqlite_url, tmp_path / "a.jsonl", "--thread", "m")
    messages = {line["seq"]: line for line in lines if line["type"] == "message"}
    assert messages[9]["message"] is None
    assert NO_MESSAGE.hex() not in messages[9]["payload_base64"]
    assert "payload_base64" not in messages[1]
    # The column, which SQL has changed, beside the copy in the message.
    assert messages[2]["metadata"] == {"by": "host", "n": 1e-7, "": [None]}
    assert messages[2]["message"]["metadata"] == {}


def test_times_of_a_file_keep_their_precision(
    postgres_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Not those of SQLite, in which the file is read first."""
    target = request.getfixturevalue("second_postgres_shared").messages.empty()
    asyncio.run(say(postgres_url, "t", "a"))
    time = "'2019-03-31 02:30:07.123456+00'"
    update = f"UPDATE cubepi_threads SET created_at = {time}, updated_at = {time}"
    asyncio.run(execute(postgres_url, update))
    export(postgres_url, tmp_path / "a.jsonl")
    imported(tmp_path / "a.jsonl", target)
    (row,) = all_rows(target, PARTS[0])["cubepi_threads"].values()
    assert str(row["created_at"]).endswith(".123456")
    assert faults(Ends(postgres_url, target)) == []


def test_thread_that_went_on_is_updated_by_its_next_export(sqlite_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    asyncio.run(say(sqlite_url, "t", "a"))
    old = "UPDATE cubepi_threads SET updated_at = '2019-03-31 02:30:07'"
    asyncio.run(execute(sqlite_url, old))
    for expected in (2, 2):  # the thread's row, and a message
        export(sqlite_url, tmp_path / "a.jsonl")
        assert imported(tmp_path / "a.jsonl", target) == {"messages": (1, 0, expected)}
        asyncio.run(say(sqlite_url, "t", "more"))
