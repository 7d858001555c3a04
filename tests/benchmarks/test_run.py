"""The benchmark from end to end, on next to nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.graph_savers import opened_savers
from benchmarks.peers.names import AGENTS_SDK, FLOOR, FRAMEWORK, OURS, SYNC
from benchmarks.scale import TINY
from benchmarks.target import targets
from benchmarks.work.graph_state import graphs
from tests.servers.products import MYSQL

ROOT = Path(__file__).parent.parent.parent
PNG = b"\x89PNG\r\n\x1a\n"


def test_a_run_prints_tables_and_writes_a_file_and_a_plot(
    tmp_path: Path, mysql_server_url: str
) -> None:
    """Pins that each contender is measured, no target is without figures, and all is written."""
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--folder", str(tmp_path)]
    environment = {**os.environ, MYSQL.variable: mysql_server_url}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    contenders = {f["contender"] for f in found["figures"] if f["work"] == "load 6 messages"}
    assert contenders == {OURS, SYNC, FRAMEWORK, FLOOR, AGENTS_SDK}
    assert all(len(f["rounds"]) == 1 and f["median"] > 0 for f in found["figures"])
    assert [t["bound"] for t in found["targets"]] == [t.bound for t in targets(TINY)]
    assert all(target["ratio"] > 0 for target in found["targets"])
    for text in (ran.stdout, (tmp_path / "results.md").read_text(encoding="utf-8")):
        assert "append 1 message, one writer" in text
        assert "at most 0.8 of" in text
    assert found["conditions"]["durable"] is False  # it is the server of tests
    assert "do not wait for the disk" in ran.stdout
    assert (tmp_path / "results.png").read_bytes().startswith(PNG)


async def test_graph_state_is_left_out_where_there_is_no_saver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pins that the benchmark runs without LangGraph's part."""
    monkeypatch.setitem(sys.modules, "threadlog.langgraph", None)
    async with opened_savers("mysql://nowhere/none", tmp_path) as savers:
        assert graphs(savers, 1) == []
