"""Python processes that need not import what another one has imported.

A test that needs another process needs its memory, its connections and its end, seldom its
imports, which take most of its time. Each pytest process has one process that imports modules once
and forks for each command: `PythonProcess` and `run_python` do what `subprocess` does with
``python``. A forked process ends like any other: the interpreter finalizes,
and a traceback or a stream that cannot be flushed decides its status. Tests of imports, of missing
packages and of the interpreter's settings use `subprocess`.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from threading import Thread, Timer
from typing import Any, Final, NoReturn, Self

from tests.support.patience import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[2]

COMMAND_LINE: Final = ("threadlog.cli", "threadlog.migrating", "aiosqlite", "asyncmy")
"""What ``python -m threadlog`` imports."""


# Of `fork_from_here`.
_CONNECTION: Final[list[socket.socket]] = []


class PythonProcess:
    """A process that runs ``python -m MODULE …``, ``python -c CODE …`` or ``python FILE …``.

    `stdin`, `stdout` and `stderr` are the ends of its pipes, as text.
    """

    def __init__(
        self,
        *command: str,
        imports: Sequence[str] = COMMAND_LINE,
        cwd: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """Start the process.

        Args:
            command: the arguments of ``python``.
            imports: modules that the program imports, without the one that is run.
            cwd: the folder that it runs in.
            environment: variables in addition to those of this process.
            stdin: a descriptor in place of a pipe.
            stdout: a descriptor in place of a pipe.
            stderr: a descriptor in place of a pipe.
        """
        request = {
            "command": command,
            "imports": imports,
            "cwd": str(cwd),
            "environment": {**os.environ, **(environment or {})},
        }
        (in_, self.stdin), (out, self.stdout), (error, self.stderr) = (
            _pipe(stdin, "w"),
            _pipe(stdout, "r"),
            _pipe(stderr, "r"),
        )
        told, status = os.pipe()
        theirs = [in_, out, error, status]
        connection = _CONNECTION[0] if _CONNECTION else _forker()
        socket.send_fds(connection, [json.dumps(request).encode()], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        self._status = os.fdopen(told)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the pipes, and wait for the end."""
        self._close()
        self.wait()

    def poll(self) -> int | None:
        """Return the status, or None while the process runs."""
        if self.returncode is None:
            os.set_blocking(self._status.fileno(), False)
            self._read_status()
        return self.returncode

    def wait(self) -> int:
        """Wait for the end; return the status, which is negative after a signal."""
        if self.returncode is None:
            os.set_blocking(self._status.fileno(), True)
            timer = Timer(PATIENCE_SECONDS, self.kill)
            timer.start()
            self._read_status()
            timer.cancel()
        assert self.returncode is not None, "its status was not reported"
        return self.returncode

    def communicate(self, given: str = "") -> tuple[str, str]:
        """Write to the process, and wait for its end; return its output and its errors."""
        read: list[str] = []
        reader = Thread(target=lambda: read.append(self.stderr.read()))
        timer = Timer(PATIENCE_SECONDS, self.kill)
        timer.start()
        reader.start()
        with suppress(BrokenPipeError):
            self.stdin.write(given)
            self.stdin.close()
        output = self.stdout.read()
        reader.join()
        timer.cancel()
        self._close()
        self.wait()
        return output, read[0]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read_status(self) -> None:
        line = self._status.readline()
        if line:
            self.returncode = int(line)
            self._status.close()

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            with suppress(BrokenPipeError):
                stream.close()


def run_python(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a process of `PythonProcess` to its end; return its status and output.

    Args:
        command: as in `PythonProcess`.
        options: the same, and ``input``, a text for its standard input.
    """
    given = options.pop("input", "")
    process = PythonProcess(*command, **options)
    output, errors = process.communicate(given)
    return subprocess.CompletedProcess(command, process.wait(), output, errors)


def run_at_once(commands: Iterable[Sequence[str]], **options: Any) -> list[str]:
    """Run processes that go on together when all of them are ready; return their outputs.

    Args:
        commands: each as in `PythonProcess`. A program prints a line when it is ready, and goes on
            when it has read one.
        options: the same.
    """
    started = [PythonProcess(*command, **options) for command in commands]
    for process in started:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, ended, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in ended]


def _pipe(given: int | None, mode: str) -> tuple[int, Any]:
    """Return the descriptor of the other process, and this one's end of the pipe."""
    if given is not None:
        return os.dup(given), open(os.devnull, mode)  # noqa: PTH123 - nothing goes through it
    reading, writing = os.pipe()
    theirs, ours = (reading, writing) if mode == "w" else (writing, reading)
    return theirs, os.fdopen(ours, mode, encoding="utf-8")


@cache
def _forker() -> socket.socket:
    """Start the process that forks; it ends with this one, or when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.processes"],
        cwd=ROOT,
        stdin=theirs.fileno(),
        stdout=subprocess.PIPE,  # as most of the processes have: Python looks at it only here
        start_new_session=True,  # Ctrl-C is for this process
    )
    theirs.close()

    def end() -> None:
        with process:
            ours.close()

    atexit.register(end)
    return ours


def fork_from_here() -> None:
    """Make `PythonProcess` fork from this process as it is now, with its imports.

    Call it before anything else is done: the processes return from here, to end at once.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _run(_next_command(theirs))
        sys.exit()
    theirs.close()
    _CONNECTION.append(ours)

    def end() -> None:
        ours.close()
        os.waitpid(pid, 0)

    atexit.register(end)


# --- The process that forks ---------------------------------------------------------


def _next_command(connection: socket.socket) -> dict[str, Any]:
    """Fork for each request; return the request in the forked process.

    Raises:
        SystemExit: the connection is closed.
    """
    while True:
        sent, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 4)
        if not sent:
            sys.exit()
        request: dict[str, Any] = json.loads(sent)
        for module in request["imports"]:
            with suppress(ImportError):  # the program will raise it, if it is an error
                import_module(module)
        gc.freeze()
        if os.fork() == 0:
            connection.close()
            *streams, status = descriptors
            if (pid := os.fork()) != 0:
                _report_status(pid, status, streams)
            os.close(status)
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _report_status(pid: int, status: int, streams: Sequence[int]) -> NoReturn:
    """Write the process's id, and its status when it has ended."""
    os.write(status, f"{pid}\n".encode())
    for descriptor in streams:
        os.close(descriptor)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(status, f"{ended}\n".encode())
    os._exit(0)


def _run(request: Mapping[str, Any]) -> None:
    """Do what ``python`` does with a command."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if "PYTHONWARNINGS" in os.environ:
        warnings.simplefilter(os.environ["PYTHONWARNINGS"])  # type: ignore[arg-type]  # an action
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
    program, *arguments = request["command"]
    folder, sys.argv = str(Path(program).parent), request["command"]
    if program in {"-m", "-c"}:
        folder, sys.argv = (str(Path.cwd()) if program == "-m" else ""), [program, *arguments[1:]]
    sys.path[:1] = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if program == "-m":
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif program == "-c":
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is ours
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _run(_next_command(socket.socket(fileno=0)))
