"""Processes that a test starts: agents that go on, answer, or die."""

import json
from typing import Any

from tests.support.processes import PythonProcess, run_python

COMMAND = ["-m", "tests.frameworks.worker"]
IMPORTS = ["tests.frameworks.agents", "aiosqlite", "asyncmy"]


def run_worker(role: str, url: str, *arguments: str) -> list[Any]:
    """Run a role in a process to its end; return its report."""
    ran = run_python(*COMMAND, role, url, *arguments, imports=IMPORTS)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def kill_worker(role: str, url: str, *arguments: str) -> None:
    """Start a process, and kill it (SIGKILL) as soon as it asks for it."""
    with PythonProcess(*COMMAND, role, url, *arguments, imports=IMPORTS) as process:
        first = process.stdout.readline()
        process.kill()
    assert first == '"kill me"\n'
