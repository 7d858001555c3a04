"""A small process that owns a server, so that the server never outlives who asked for it.

It holds the server until its standard input ends. That happens when whoever asked closes it, and
also when that process is interrupted, terminated or killed: the system closes the pipe.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Any, Final, NoReturn

from tests.support.servers.cache import PROJECT
from tests.support.servers.docker import running_container
from tests.support.servers.error import SourceFailedError
from tests.support.servers.group import running_group
from tests.support.servers.pgbouncer import running_pgbouncer
from tests.support.servers.process import running_process
from tests.support.servers.readiness import requester_gone
from tests.support.servers.restarting import restarting_process

_KINDS: Final[Mapping[str, Callable[..., AbstractContextManager[dict[str, str]]]]] = {
    "process": running_process,
    "docker": running_container,
    "group": running_group,
    "pgbouncer": running_pgbouncer,
    "restarting": restarting_process,
}
_STOP_SECONDS: Final = 90


@contextmanager
def supervised(kind: str, **arguments: Any) -> Iterator[dict[str, str]]:
    """Run a server under a supervisor for as long as the block and this process last.

    Args:
        kind: "process", "docker", "group", "pgbouncer" or "restarting".
        arguments: those of `running_process`, `running_container`, `running_group`,
            `running_pgbouncer` or `restarting_process`.

    Yields:
        What these yield.

    Raises:
        SourceFailedError: the server does not start.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.servers.supervisor",
            json.dumps({"kind": kind, **arguments}),
        ],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, not for that one
    )
    try:
        yield _report(process)
    finally:
        _release(process)


def _report(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Read what the supervisor says of its server."""
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise SourceFailedError("the supervisor ended without a word; see its traceback")
    report: dict[str, str] = json.loads(line)
    if "error" in report:
        raise SourceFailedError(report["error"])
    return report


def _release(process: subprocess.Popen[bytes]) -> None:
    """Stop the supervisor's server, and wait for its end."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Stop the server and end, when somebody terminates the supervisor itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _hold(kind: str, arguments: Mapping[str, Any]) -> None:
    """Run a server until nobody wants it any more."""
    try:
        with _KINDS[kind](**arguments) as report:
            _forward_result(report)
            while not requester_gone(None):
                pass
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except SourceFailedError as error:
        _forward_result({"error": str(error)})


def _forward_result(report: Mapping[str, str]) -> None:
    """Write a report for who asked, if it still reads."""
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Run the supervisor; its one argument says what to run."""
    signal.signal(signal.SIGTERM, _leave)
    job = json.loads(sys.argv[1])
    _hold(job.pop("kind"), job)


if __name__ == "__main__":
    main()
