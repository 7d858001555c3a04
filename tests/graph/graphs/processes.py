"""Processes that a test starts: graphs that go on, answer, or die."""

import json
from typing import Any, Final

from tests.support.processes import PythonProcess, run_python

COMMAND: Final = ["-m", "tests.graph.graphs.worker"]
IMPORTS: Final = ["tests.graph.graphs.histories", "tests.graph.ways"]


def run_worker(role: str, url: str, way: str, *arguments: str) -> list[Any]:
    """Run a role in a process to its end; return its report."""
    ran = run_python(*COMMAND, role, url, way, *arguments, imports=IMPORTS)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def kill_worker(role: str, url: str, way: str, *arguments: str) -> list[Any]:
    """Start a process, and kill it (SIGKILL) once it reports ``kill me``; return its reports."""
    said = []
    with PythonProcess(*COMMAND, role, url, way, *arguments, imports=IMPORTS) as process:
        for line in process.stdout:
            said.append(json.loads(line))
            if said[-1] == "kill me":
                process.kill()
                break
    assert process.returncode == -9, said
    return said
