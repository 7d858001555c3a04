"""A mysqld process on a data folder of its own."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.servers.cache import CACHE, cache_lock, draft
from tests.servers.command import run, say, tail
from tests.servers.error import SourceFailedError
from tests.servers.program import Program
from tests.servers.readiness import greets, wait_until_ready

HOST: Final = "127.0.0.1"
"""The only address that test servers listen on."""

_DURABLE: Final = ("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin=binlog")
_FAST: Final = ("--innodb-flush-log-at-trx-commit=2", "--disable-log-bin")
_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 10
_PORT_ATTEMPTS: Final = 3


class _PortTakenError(SourceFailedError):
    """Another process listens on the port that was free a moment ago."""


def settings(*, durable: bool) -> list[str]:
    """List the server options that every kind of test server gets.

    Args:
        durable: whether a commit waits for the disk, the binary log's too, as in production;
            tests need not.
    """
    return ["--loose-mysqlx=OFF", "--max-connections=500", *(_DURABLE if durable else _FAST)]


def data_folder_of(program: Program) -> Path:
    """Find the pristine data folder for a mysqld in the cache, or make it first.

    Raises:
        SourceFailedError: the server cannot initialize one.
    """
    digest = hashlib.sha256(program.build.encode()).hexdigest()[:8]
    version = program.build.removeprefix("Ver ").partition(" ")[0]
    folder = CACHE / f"data-{version}-{digest}"
    if not folder.exists():
        with cache_lock():
            if not folder.exists():
                with draft(folder) as work:
                    _initialize(program, work)
    return folder


def _initialize(program: Program, folder: Path) -> None:
    """Have a server fill an empty data folder."""
    say("initializing a MySQL data folder (some seconds, once) ...")
    options = [f"--datadir={folder}", *_process_options(), *settings(durable=False)]
    run([*program.command, "--initialize-insecure", *options], seconds=300)
    (folder / "auto.cnf").unlink(missing_ok=True)  # each server makes an identity of its own


def _process_options() -> list[str]:
    """List the options that depend on who runs the server."""
    as_root = ["--user=root"] if os.geteuid() == 0 else []
    return ["--secure-file-priv=NULL", *as_root]


@contextmanager
def running_mysqld(
    *, command: Sequence[str], data: str, durable: bool, more: Sequence[str] = ()
) -> Iterator[dict[str, str]]:
    """Run a mysqld on a copy of a data folder; stop it and remove the copy in the end.

    Args:
        command: a program's command.
        data: the data folder to copy.
        durable: see `settings`.
        more: further options, which win over the usual ones.

    Yields:
        The server's URL and its data folder.

    Raises:
        SourceFailedError: it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="threadlog-mysql-"))
    try:
        shutil.copytree(data, folder / "data")
        port, process = _start(command, folder, [*settings(durable=durable), *more])
        try:
            yield {"url": f"mysql://root@{HOST}:{port}/", "data_folder": str(folder / "data")}
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    command: Sequence[str], folder: Path, options: Sequence[str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a server on a free port; try again when someone else was faster to take it."""
    for _ in range(_PORT_ATTEMPTS - 1):
        with suppress(_PortTakenError):
            return _start_once(command, folder, options)
    return _start_once(command, folder, options)


def _start_once(
    command: Sequence[str], folder: Path, options: Sequence[str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a server on a port that is free, or was just now."""
    port = free_port()
    process = _spawn(command, folder, port, options)
    try:
        _wait(process, folder / "log", port)
    except BaseException:
        _stop(process)
        raise
    return port, process


def _spawn(
    command: Sequence[str], folder: Path, port: int, options: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start the process, in a group of its own, writing to a log file."""
    own = [
        f"--datadir={folder / 'data'}",
        f"--bind-address={HOST}",
        f"--port={port}",
        "--socket=mysql.sock",  # in the data folder: the full path may be too long for a socket
        f"--pid-file={folder / 'pid'}",
        *_process_options(),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, *own, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )


def _wait(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait until this very server, by its own log, greets on the port."""

    def ready() -> bool:
        """Look into the log first: another server may have taken the port."""
        return b"ready for connections" in log.read_bytes() and greets(HOST, port)

    try:
        wait_until_ready(ready, lambda: process.poll() is None, seconds=_START_SECONDS)
    except SourceFailedError as error:
        text = log.read_text(encoding="utf-8", errors="replace")
        kind = _PortTakenError if "already in use" in text else SourceFailedError
        raise kind(f"{error}; the end of its log:\n{tail(text)}") from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what its program started: politely, then not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Ask the system for a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
