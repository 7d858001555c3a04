"""Tests that run the documentation's examples."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.matrix import on_each

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.processes
def test_the_examples_of_the_readme_run(tmp_path: Path) -> None:
    first, graph, query = re.findall(r"<!-- example.*?-->\n```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "example.py").write_text(first, encoding="utf-8")
    (tmp_path / "graph.py").write_text(graph, encoding="utf-8")
    (tmp_path / "query.py").write_text(query, encoding="utf-8")
    for count in (1, 2):
        shown = subprocess.run(
            [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        assert shown.startswith(f"{count} role='user'")
        assert "{'customer': 'u1'}" in shown
    for count in (1, 2):
        shown = subprocess.run(
            [sys.executable, "graph.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        assert shown == f"{{'said': {['Where is my parcel?', 'In the post.'] * count}}}\n"
    shown = subprocess.run(
        [sys.executable, "query.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert shown.count("Message('order-17', ") == 2
    assert shown.count("Where is my parcel?") == 2


def test_the_targets_that_the_documentation_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text))
    assert {"demo", "test", "check"} <= named
    assert named <= set(re.findall(r"(?m)^([a-z-]+):", makefile))


@pytest.mark.parametrize("kind", on_each(["sqlite", "mysql"]))
@pytest.mark.processes
def test_the_demo_loses_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(f"{kind}_url"))
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "120 messages, seq 1 to 120 without a gap, none lost, none doubled." in ran.stdout
    assert "killed here, resumed by a new process" in ran.stdout
    assert "user" in ran.stdout
    assert "calls track_parcel" in ran.stdout


@pytest.mark.parametrize("kind", on_each(["sqlite", "mysql"]))
@pytest.mark.processes
def test_the_agent_survives_being_killed(kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue(f"{kind}_url"))
    # The second run finds what the first one left, which is the same on every database.
    for _ in range(2 if kind == "sqlite" else 1):
        ran = subprocess.run(
            [sys.executable, "-m", "examples.killed_agent", url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("killed here, with SIGKILL") == 1
        assert re.findall(r"(?m)^The database says: (.*)$", ran.stdout) == [
            "run-1 is open",
            "run-1 is completed, run-2 is waiting",
            "run-1 is completed, run-2 is completed",
        ]
        log = re.findall(r"(?m)^ +(\d+)  (run-\d)  (\w+)", ran.stdout)
        assert [int(seq) for seq, _, _ in log] == list(range(1, 13))
        assert [run for _, run, _ in log] == ["run-1"] * 8 + ["run-2"] * 4
        assert [role for _, _, role in log] == [
            *["user", "assistant", "tool_result", "assistant"],
            *["tool_result", "assistant", "tool_result", "assistant"],
            *["user", "assistant", "tool_result", "assistant"],
        ]
        assert "12 messages, seq 1 to 12 without a gap, none lost, none doubled." in ran.stdout
