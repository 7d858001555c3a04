"""A server's process on a data folder of its own."""

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

from tests.support.servers.cache import CACHE, cache_lock, draft
from tests.support.servers.command import run, say, tail
from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import HOST, Product
from tests.support.servers.products import EVERY_PRODUCT
from tests.support.servers.program import Program
from tests.support.servers.readiness import answers, wait_until_ready
from tests.support.servers.user import as_user, hand_over

_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 10
_PORT_ATTEMPTS: Final = 3
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - for a folder of a random name in it
_ROOM_BYTES: Final = 4 * 2**30


class _PortTakenError(SourceFailedError):
    """Another process listens on the port that was free a moment ago."""


def data_folder_of(product: Product, program: Program) -> Path:
    """Find the pristine data folder for a program in the cache, or make it first.

    Raises:
        SourceFailedError: the server cannot initialize one.
    """
    digest = hashlib.sha256(program.build.encode()).hexdigest()[:8]
    version = program.build.removeprefix("Ver ").partition(" ")[0]
    cache = CACHE / product.name
    folder = cache / f"data-{version}-{digest}"
    if not folder.exists():
        with cache_lock(cache):
            if not folder.exists():
                with draft(folder) as work:
                    _initialize(product, program, work)
    return folder


def _initialize(product: Product, program: Program, target: Path) -> None:
    """Create a data folder by a server, where its user may write, and move it from there."""
    say(f"initializing a {product.title} data folder (some seconds, once) ...")
    with _folder(product) as folder:
        data = folder / "data"
        data.mkdir(mode=0o700)
        hand_over(folder, product.user)
        if command := product.initialisation(program, data):
            run(command, seconds=300, folder=folder, user=product.user)
        (data / "auto.cnf").unlink(missing_ok=True)  # each MySQL makes an identity of its own
        shutil.copytree(data, target, dirs_exist_ok=True)


@contextmanager
def running_process(
    *, product: str, command: Sequence[str], data: str, durable: bool, more: Sequence[str] = ()
) -> Iterator[dict[str, str]]:
    """Run a server on a copy of a data folder; stop it and remove the copy in the end.

    Args:
        product: the server's name.
        command: a program's command.
        data: the data folder to copy.
        durable: see `Product.settings`.
        more: further options, which win over the usual ones.

    Yields:
        The server's URL and its data folder.

    Raises:
        SourceFailedError: it does not start.
    """
    server = EVERY_PRODUCT[product]
    with copied_data(server, data, None if durable else folder_in_memory()) as folder:
        port, process = _start(server, command, folder, [*server.settings(durable), *more])
        try:
            yield {"url": server.url(port), "data_folder": str(folder / "data")}
        finally:
            _stop(server, process)


def folder_in_memory() -> str | None:
    """Return a folder that lies in memory and has room for some servers; None if there is none.

    A table of 64 partitions is 64 files, which takes a disk longer than all else in most tests.
    """
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > _ROOM_BYTES:
        return str(_SHARED_MEMORY)
    return None


@contextmanager
def copied_data(product: Product, data: str, parent: str | None = None) -> Iterator[Path]:
    """Make a folder with a copy of a data folder in it, for one process; remove it in the end.

    Args:
        product: the server.
        data: the data folder to copy.
        parent: where the folder is to lie; None for the system's folder of temporary files.
    """
    with _folder(product, parent) as folder:
        shutil.copytree(data, folder / "data")
        hand_over(folder, product.user)
        yield folder


@contextmanager
def _folder(product: Product, parent: str | None = None) -> Iterator[Path]:
    """Make a folder for a server; remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"threadlog-{product.name}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    product: Product, command: Sequence[str], folder: Path, options: Sequence[str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a server on a free port; try again when someone else was faster to take it."""
    for _ in range(_PORT_ATTEMPTS - 1):
        with suppress(_PortTakenError):
            return _start_once(product, command, folder, options)
    return _start_once(product, command, folder, options)


def _start_once(
    product: Product, command: Sequence[str], folder: Path, options: Sequence[str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a server on a port that is free, or was just now."""
    port = free_port()
    process = _spawn(product, command, folder, port, options)
    try:
        _wait(product, process, folder / "log", port)
    except BaseException:
        _stop(product, process)
        raise
    return port, process


def _spawn(
    product: Product, command: Sequence[str], folder: Path, port: int, options: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start the process, in a group of its own, writing to a log file."""
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, *product.placing(folder, port), *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            **as_user(product.user),
        )


def _wait(product: Product, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait until this very server, by its own log, serves clients on the port."""

    def ready() -> bool:
        """Look into the log first: another server may have taken the port."""
        return product.ready in log.read_bytes() and answers(product, product.url(port))

    try:
        wait_until_ready(ready, lambda: process.poll() is None, seconds=_START_SECONDS)
    except SourceFailedError as error:
        text = log.read_text(encoding="utf-8", errors="replace")
        kind = _PortTakenError if "already in use" in text else SourceFailedError
        raise kind(f"{error}; the end of its log:\n{tail(text)}") from error


def _stop(product: Product, process: subprocess.Popen[bytes]) -> None:
    """End a server and what its program started: politely, then not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, product.stop_signal)
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
