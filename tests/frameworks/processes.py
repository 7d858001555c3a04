"""Processes that a test starts: agents that go on, answer, or die."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.frameworks.worker"]


def run_worker(role: str, url: str, *arguments: str) -> list[Any]:
    """Run a role in a process to its end; return its report."""
    command = [*COMMAND, role, url, *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def kill_worker(role: str, url: str, *arguments: str) -> None:
    """Start a process, and kill it (SIGKILL) as soon as it asks for it."""
    command = [*COMMAND, role, url, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.kill()
    assert first == '"kill me"\n'
