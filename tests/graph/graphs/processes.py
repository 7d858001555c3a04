"""Processes that a test starts: graphs that go on, answer, or die."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support.patience import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[3]
COMMAND: Final = [sys.executable, "-m", "tests.graph.graphs.worker"]


def run_worker(role: str, url: str, way: str, *arguments: str) -> list[Any]:
    """Run a role in a process to its end; return its report."""
    command = [*COMMAND, role, url, way, *arguments]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def kill_worker(role: str, url: str, way: str, *arguments: str) -> list[Any]:
    """Start a process, and kill it (SIGKILL) once it reports ``kill me``; return its reports."""
    command = [*COMMAND, role, url, way, *arguments]
    said = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(json.loads(line))
            if said[-1] == "kill me":
                process.kill()
                break
    assert process.returncode == -9, said
    return said
