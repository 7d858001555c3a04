"""The benchmark from end to end, on next to nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.names import AGENTS_SDK, FLOOR, FRAMEWORK, LANGGRAPH, OURS, SYNC
from benchmarks.scale import TINY
from benchmarks.target import targets
from benchmarks.work.elsewhere import append_on
from benchmarks.work.graph_state import crowd_of, step_of
from benchmarks.work.memories import put_on
from tests.support.servers.products import MYSQL, POSTGRES

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


def contenders_of(work: str, found: dict[str, Any]) -> set[str]:
    """Return the contenders whose figures of a work are in a written file."""
    return {figure["contender"] for figure in found["figures"] if figure["work"] == work}


def test_a_run_prints_tables_and_writes_a_file_and_a_plot(
    tmp_path: Path, mysql_server_url: str, postgres_server_url: str
) -> None:
    """Each contender is measured, no target is without figures, and all is written."""
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--folder", str(tmp_path)]
    servers = {MYSQL.variable: mysql_server_url, POSTGRES.variable: postgres_server_url}
    environment = {**os.environ, **servers}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert contenders_of("load 6 messages", found) == {OURS, SYNC, FRAMEWORK, FLOOR, AGENTS_SDK}
    for database in ("SQLite", "PostgreSQL"):
        assert contenders_of(step_of(database), found) == {OURS, LANGGRAPH}
        assert contenders_of(crowd_of(database, TINY.graphs), found) == {OURS, LANGGRAPH}
        assert contenders_of(put_on(database), found) == {OURS, LANGGRAPH}
        assert contenders_of(append_on(database), found) == {OURS, FRAMEWORK}
    assert all(len(f["rounds"]) == 1 and f["median"] > 0 for f in found["figures"])
    assert [t["bound"] for t in found["targets"]] == [t.bound for t in targets(TINY)]
    assert all(target["ratio"] > 0 for target in found["targets"])
    for text in (ran.stdout, (tmp_path / "results.md").read_text(encoding="utf-8")):
        assert "append 1 message, one writer" in text
        assert "at most 0.7 of" in text
    assert found["conditions"]["durable"] is False  # it is the server of tests
    assert "do not wait for the disk" in ran.stdout
    assert (tmp_path / "results.png").read_bytes().startswith(PNG)
