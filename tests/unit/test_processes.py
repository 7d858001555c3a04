"""Processes that are forked: what they print and how they end is as `subprocess` has it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, PythonProcess, run_python

pytestmark = pytest.mark.processes

PROGRAM = "import os, sys; print(sys.argv[1:], sys.path[0], os.getcwd(), os.environ['NOTE'])"
ECHO = "import sys; print(sys.stdin.name, sys.stdin.read(), sys.stdout.isatty(), flush=True)"


@pytest.mark.parametrize(
    "command",
    [
        ("-c", PROGRAM, "a", "--b"),
        ("program.py", "a", "--b"),
        ("-m", "program", "a", "--b"),
        ("-c", ECHO),
        ("-c", "import sys; sys.exit(3)"),
        ("-c", "import sys; sys.exit('Ended.')"),
        ("-c", "import os; os.kill(os.getpid(), 9)"),
        ("-c", "import atexit; atexit.register(print, 'at exit'); print('before')"),
        ("-m", "threadlog", "--version"),
    ],
)
def test_a_forked_process_does_what_a_new_one_does(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = tuple(str(tmp_path / part) if part.endswith(".py") else part for part in command)
    note = {"NOTE": "grün"}
    new = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=os.environ | note,
        input="in",
        capture_output=True,
        text=True,
        check=False,
    )
    forked = run_python(*command, cwd=tmp_path, environment=note, input="in")
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        new.returncode,
        new.stdout,
        new.stderr,
    )


def test_an_error_ends_a_forked_process_with_its_traceback() -> None:
    done = run_python("-c", "1 / 0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_output_that_nobody_reads_decides_the_status() -> None:
    """A buffer is flushed when the interpreter finalizes; without one, writing raises."""
    command = ("-c", "print('lost')")
    ours, theirs = os.pipe()
    os.close(ours)
    new = subprocess.run(
        [sys.executable, *command], stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    forked = run_python(*command, stdout=theirs)
    os.close(theirs)
    assert forked.returncode == new.returncode != 0
    assert "BrokenPipeError" in forked.stderr


def test_a_forked_process_is_stopped_by_signals() -> None:
    waits = "import time; print('ready', flush=True); time.sleep(600)"
    for number in (signal.SIGKILL, signal.SIGTERM):
        with PythonProcess("-c", waits) as process:
            assert process.stdout.readline() == "ready\n"
            assert process.poll() is None
            process.send_signal(number)
        assert process.poll() == -number


def test_forked_processes_share_nothing_but_their_imports() -> None:
    changes = "import json; print(hasattr(json, 'changed')); json.changed = True"
    done = [run_python("-c", changes, imports=["json"]).stdout for _ in range(2)]
    assert done == ["False\n"] * 2
    drawn = {run_python("-c", "import random; print(random.random())").stdout for _ in range(3)}
    assert len(drawn) == 3
    assert run_python("-c", "import os; print(os.getcwd())").stdout == f"{ROOT}\n"
