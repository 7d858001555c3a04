"""Commands that are run to their end, with errors that say what went wrong."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.servers.error import SourceFailedError
from tests.support.servers.user import as_user

_TAIL_LINES: Final = 15

_STREAMS: Final[dict[str, Any]] = {
    "stdin": subprocess.DEVNULL,
    "capture_output": True,
    "text": True,
    "errors": "replace",
    "close_fds": False,  # the lock of the cache is handed on
}


def say(text: str) -> None:
    """Print progress for people who wait."""
    sys.stderr.write(f"threadlog tests: {text}\n")
    sys.stderr.flush()


def tail(text: str) -> str:
    """Keep the last lines of a program's output."""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


def run(
    command: Sequence[str], *, seconds: float, folder: Path | None = None, user: str | None = None
) -> str:
    """Run a command to its end and return its standard output.

    Args:
        command: the program and its arguments.
        seconds: how long it may take.
        folder: the folder to run it in.
        user: who is to run it where root asks, see `as_user`.

    Raises:
        SourceFailedError: it cannot be started, takes too long or fails.
    """
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, cwd=folder, timeout=seconds, check=False, **_STREAMS, **as_user(user)
        )
    except OSError as error:
        raise SourceFailedError(f"{command[0]} cannot be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailedError(f"{command[0]} did not end within {seconds:g} s") from error
    if done.returncode != 0:
        output = tail(done.stderr or done.stdout)
        raise SourceFailedError(f"{command[0]} failed with status {done.returncode}: {output}")
    return done.stdout
