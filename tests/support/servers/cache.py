"""The folder that keeps what is expensive to make, shared by processes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from tests.support.servers.command import say

PROJECT: Final = Path(__file__).resolve().parents[3]
"""The repository's top folder."""

CACHE: Final = PROJECT / ".cache"
"""What may be deleted at any time when no tests run, a folder for each product; git ignores it."""

_DRAFT: Final = ".draft-"


@contextmanager
def cache_lock(cache: Path) -> Iterator[None]:
    """Lock a product's folder, so that one process at a time changes it.

    The lock ends with the process, or with the last command that it left behind when it was
    killed: such a command still writes, and mysqld hangs when its folder is taken away.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        _lock(file)
        inheritable = True  # by the commands that are run meanwhile, see `run`
        os.set_inheritable(file.fileno(), inheritable)
        try:
            for leftover in cache.glob(f"*{_DRAFT}*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """Make a folder at once or not at all; the caller holds the lock.

    Args:
        folder: what the folder is called when it is complete.

    Yields:
        An empty folder beside it to work in.
    """
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}{_DRAFT}", dir=folder.parent))
    try:
        yield work
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _lock(file: IO[str]) -> None:
    """Wait for the lock, and say so when that takes time."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another process that prepares this server ...")
        fcntl.flock(file, fcntl.LOCK_EX)
