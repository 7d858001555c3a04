"""A PgBouncer on loopback before a PostgreSQL server: the machine's own, or Debian's package."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from tests.support.servers.command import tail
from tests.support.servers.debian import prefix_of, unpacked
from tests.support.servers.error import SourceFailedError
from tests.support.servers.process import free_port
from tests.support.servers.product import HOST, Packages
from tests.support.servers.readiness import wait_until_ready
from tests.support.servers.user import as_user, hand_over

_USER: Final = "nobody"  # PgBouncer refuses to be run by root
_START_SECONDS: Final = 60
_PACKAGES: Final = Packages(
    suite=None,
    names=("pgbouncer",),
    kept=re.compile(r"pgbouncer|zlib|lib(?!c6|.*perl|db|gdbm|newt|slang|debian|textwrap)"),
    program="usr/sbin/pgbouncer",
    options=lambda root: (),
)


def pgbouncer_command() -> list[str]:
    """Find a PgBouncer, or download one.

    Raises:
        SourceFailedError: this is no Debian, or the download failed.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    if found := shutil.which("pgbouncer", path=folders):
        return [found]
    root = unpacked("pgbouncer", "PgBouncer", _PACKAGES)
    return [*prefix_of(root), str(root / _PACKAGES.program)]


@contextmanager
def running_pgbouncer(
    *, command: Sequence[str], server: str, settings: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Run a PgBouncer; stop it in the end.

    Args:
        command: the program.
        server: the URL of the PostgreSQL server, without a database.
        settings: PgBouncer's, such as ``pool_mode``.

    Yields:
        Its URL, without a database.

    Raises:
        SourceFailedError: it does not start.
    """
    url = make_url(server)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="threadlog-pgbouncer-"))
    try:
        (folder / "ini").write_text(_configuration(server, port, settings), encoding="utf-8")
        hand_over(folder, _USER)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, str(folder / "ini")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                **as_user(_USER),
            )
        try:
            _wait(process, folder / "log", port)
            there = url.set(host=HOST, port=port, password=None)
            yield {"url": there.render_as_string(hide_password=False)}
        finally:
            process.kill()  # it keeps nothing
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(server: str, port: int, settings: Mapping[str, str]) -> str:
    url = make_url(server)
    target = f"host={url.host} port={url.port or 5432} user={url.username}"
    target += f" password={url.password}" if url.password else ""
    usual = {
        "listen_addr": HOST,
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
    }
    lines = [f"{name} = {value}" for name, value in {**usual, **settings}.items()]
    return "\n".join(["[databases]", f"* = {target}", "[pgbouncer]", *lines, ""])


def _wait(process: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait until this very process listens: it ends if another one took the port."""

    def ready() -> bool:
        with socket.socket() as probe:
            return b"process up" in log.read_bytes() and probe.connect_ex((HOST, port)) == 0

    try:
        wait_until_ready(ready, lambda: process.poll() is None, seconds=_START_SECONDS)
    except SourceFailedError as error:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise SourceFailedError(f"{error}; the end of its log:\n{tail(text)}") from error
