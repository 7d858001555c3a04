"""How the tests' own MySQL server is found, started and stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import debian, fake_mysqld, mysql
from tests.servers.apt_source import (
    AptSource,
    machine_sources,
    parse_deb822,
    parse_one_line,
    sid_source,
)
from tests.servers.cache import PROJECT, cache_lock, draft
from tests.servers.error import URL_VARIABLE, SourceFailedError, unavailable
from tests.servers.mysql import MySQLServer, ServerUnavailableError, mysql_server
from tests.servers.program import described, supported_version
from tests.servers.readiness import announced_version
from tests.servers.supervisor import supervised

_FAKE = (sys.executable, str(Path(fake_mysqld.__file__)))

_DEB822 = """\
# made by an installer
Types: deb deb-src
URIs: https://mirror.example/debian-security
Suites: trixie-security
Components: main

Types: deb
URIs: https://elsewhere.example/tool/debian
Suites: trixie-tool
Components: main

Enabled: no
Types: deb
URIs: https://off.example/debian
Suites: trixie
Components: main

Types: deb
# a comment between fields
URIs: https://other.example/archive
  https://mirror.example/debian/
Suites: trixie trixie-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 bm90IGEga2V5
 -----END PGP PUBLIC KEY BLOCK-----
"""

_ONE_LINE = """\
# deb https://off.example/debian bookworm main
deb-src https://mirror.example/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb https://mirror.example/debian-security bookworm-security main
deb
deb [arch=amd64 signed-by=/keys/debian.gpg] https://mirror.example/debian stable main # mine
"""


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", (9, 7, 4)),
        ("mysqld  Ver 8.0.13 for Linux on x86_64 (MySQL Community Server - GPL)", (8, 0, 13)),
        ("mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL))", (8, 0, 36)),
        ("8.4.0", (8, 4, 0)),
    ],
)
def test_supported_versions(text: str, version: tuple[int, int, int]) -> None:
    """Versions are read from the command's output and from a greeting."""
    assert supported_version(text) == version


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64", "MariaDB"),
        ("5.5.5-11.4.2-MariaDB-log", "MariaDB"),
        ("mysqld  Ver 8.0.12 for Linux on x86_64", r"8\.0\.12 is older than 8\.0\.13"),
        ("mysqld  Ver 5.7.44 for Linux on x86_64", r"5\.7\.44 is older"),
        ("something else", "no MySQL version"),
    ],
)
def test_refused_versions(text: str, reason: str) -> None:
    """MariaDB, old releases and other programs are not the MySQL that the tests need."""
    with pytest.raises(SourceFailedError, match=reason):
        supported_version(text)


def test_mysqld_of_mariadb_is_refused(tmp_path: Path) -> None:
    """A program called mysqld may be MariaDB's; it is asked before it is used."""
    program = tmp_path / "mysqld"
    program.write_text("#!/bin/sh\necho 'mysqld  Ver 11.8.3-MariaDB for Linux on x86_64'\n")
    program.chmod(0o755)
    with pytest.raises(SourceFailedError, match="MariaDB, not MySQL"):
        described((str(program),))


def test_sid_from_deb822_sources() -> None:
    """Of several stanzas the one of Debian's main archive is taken, with its key."""
    lines = sid_source(parse_deb822(_DEB822)).splitlines()
    assert lines[:4] == [
        "Types: deb",
        "URIs: https://mirror.example/debian/",
        "Suites: sid",
        "Components: main",
    ]
    assert lines[4].startswith("Signed-By: -----BEGIN")
    assert lines[5:] == [" .", " bm90IGEga2V5", " -----END PGP PUBLIC KEY BLOCK-----"]


def test_one_line_sources() -> None:
    """Comments, source packages and broken lines are passed over."""
    sources = list(parse_one_line(_ONE_LINE))
    mirror = "https://mirror.example/debian"
    assert sources[-1].signed_by == "/keys/debian.gpg"
    assert [source.mirror() for source in sources] == [None, None, mirror]
    assert sid_source(iter(sources)) == (
        f"Types: deb\nURIs: {mirror}\nSuites: sid\nComponents: main\nSigned-By: /keys/debian.gpg\n"
    )


def test_machine_sources_of_both_styles(tmp_path: Path) -> None:
    """All files that apt reads are read, and no others."""
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "a.sources").write_text("Types: deb\nURIs: http://a.example\nSuites: x\n")
    (parts / "b.list").write_text("deb http://b.example y main\n")
    (parts / "c.list.disabled").write_text("deb http://c.example y main\n")
    (tmp_path / "sources.list").write_text("deb http://d.example z main\n")
    found = [source.uris[0] for source in machine_sources(tmp_path)]
    assert found == ["http://a.example", "http://d.example", "http://b.example"]


def test_no_debian_mirror() -> None:
    """A machine of another distribution is told so."""
    ubuntu = AptSource(("http://mirror.example/ubuntu",), ("noble",), ("main",))
    with pytest.raises(SourceFailedError, match="no mirror of Debian's main archive"):
        sid_source(iter([ubuntu]))


def test_unavailable_says_what_was_tried_and_what_to_do() -> None:
    """The error names each source with its reason, in order, and the ways out."""
    text = str(unavailable([("mysqld", "none on PATH"), ("Docker", "first\nsecond\n")]))
    assert text.splitlines()[1:4] == ["- mysqld: none on PATH", "- Docker: first", "    second"]
    assert all(part in text for part in (URL_VARIABLE, "8.0.13", "install mysqld", "Docker"))


def test_nothing_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that offers nothing gets the error, and never a silent skip."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    with pytest.raises(ServerUnavailableError) as raised, mysql_server():
        pass
    for reason in ("not set", "no mysqld on PATH", "no docker on PATH", "not a Debian machine"):
        assert reason in str(raised.value)


def test_server_by_url(monkeypatch: pytest.MonkeyPatch, mysql_server_url: str) -> None:
    """A server named by the environment is used as it is."""
    monkeypatch.setenv(URL_VARIABLE, mysql_server_url)
    with mysql_server() as server:
        assert server == MySQLServer(mysql_server_url, None, URL_VARIABLE)


def test_server_by_url_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong URL is an error, not a reason to start another server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv(URL_VARIABLE, f"mysql://root@127.0.0.1:{port}/")
    with (
        pytest.raises(ServerUnavailableError, match=f"no MySQL server answers at .*:{port}"),
        mysql_server(),
    ):
        pass


def test_draft_is_all_or_nothing(tmp_path: Path) -> None:
    """What is not completed leaves nothing; leftovers of the killed go with the next lock."""
    folder = tmp_path / "data"
    (tmp_path / "data.draft-killed").mkdir()
    with cache_lock(tmp_path):
        with pytest.raises(FileNotFoundError), draft(folder) as work:
            (work / "missing" / "file").touch()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        with draft(folder) as work:
            (work / "file").touch()
    assert (folder / "file").exists()


def test_lock_lasts_as_long_as_a_command_left_behind(tmp_path: Path) -> None:
    """A killed process may leave a command that still writes; nobody may clear its folder."""
    code = (
        "import sys; from pathlib import Path; from tests.servers.cache import cache_lock\n"
        "from tests.servers.command import run\n"
        "with cache_lock(Path(sys.argv[1])):\n"
        "    (Path(sys.argv[1]) / 'data.draft-x').mkdir()\n"
        "    run(['sleep', '1.5'], seconds=9)\n"
    )
    leftover = tmp_path / "data.draft-x"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT) as holder:
        assert _eventually(leftover.exists)
        time.sleep(0.5)  # for the command to start
        holder.kill()
    killed = time.monotonic()
    with cache_lock(tmp_path):
        assert time.monotonic() - killed > 0.3
        assert not leftover.exists()


def test_supervised_server_stops_with_the_block(pristine: Path) -> None:
    """The server greets inside the block; after it, process and data folder are gone."""
    with supervised("mysqld", command=_FAKE, data=str(pristine), durable=False) as report:
        pid, folder = _traces(report)
        port = int(report["url"].rstrip("/").rpartition(":")[2])
        assert announced_version("127.0.0.1", port) == "8.4.0-fake"
        assert _runs(pid)
    assert not _runs(pid)
    assert not folder.exists()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_supervised_server_stops_when_its_user_is_killed(
    pristine: Path, signal_number: signal.Signals
) -> None:
    """However a test run ends, its server and the data folder go within seconds."""
    with _user(pristine) as user:
        assert user.stdout is not None
        pid, folder = _traces(json.loads(user.stdout.readline()))
        assert _runs(pid)
        user.send_signal(signal_number)
        user.wait(10)
        assert _eventually(lambda: not _runs(pid) and not folder.exists())


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_heeds_signals_that_it_was_started_to_ignore(
    monkeypatch: pytest.MonkeyPatch, signal_number: signal.Signals
) -> None:
    """Shells without job control start background commands with SIGINT ignored."""

    def serve(*, durable: bool) -> None:
        os.kill(os.getpid(), signal_number)
        time.sleep(10)
        raise AssertionError(durable)

    monkeypatch.setattr(mysql, "_serve", serve)
    monkeypatch.setattr(sys, "argv", ["mysql"])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        signal.signal(signal_number, signal.SIG_IGN)
        assert mysql.main() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_server_that_ends_while_starting(pristine: Path) -> None:
    """The error has the end of the server's log."""
    (pristine / "failure").write_text("first line\nthe disk is full\n", encoding="utf-8")
    with (
        pytest.raises(SourceFailedError, match=r"(?s)ended while starting.*the disk is full"),
        supervised("mysqld", command=_FAKE, data=str(pristine), durable=False),
    ):
        pass


def test_port_taken_by_another_process(pristine: Path) -> None:
    """A port that is lost between choosing and binding is replaced by another."""
    (pristine / "failure").write_text("bind: Address already in use\n", encoding="utf-8")
    with supervised("mysqld", command=_FAKE, data=str(pristine), durable=False) as report:
        assert _runs(_traces(report)[0])


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    """Give a data folder to copy."""
    folder = tmp_path / "pristine"
    folder.mkdir()
    return folder


@contextmanager
def _user(pristine: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that uses a supervised server and tells where it is."""
    arguments: dict[str, Any] = {"command": _FAKE, "data": str(pristine), "durable": False}
    code = (
        "import json, sys, time\n"
        "from tests.servers.supervisor import supervised\n"
        "with supervised('mysqld', **json.loads(sys.argv[1])) as report:\n"
        "    print(json.dumps(report), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as user:
        try:
            yield user
        finally:
            user.kill()


def _traces(report: dict[str, str]) -> tuple[int, Path]:
    """Find the server's process id and temporary folder."""
    folder = Path(report["data_folder"]).parent
    return int((folder / "pid").read_text(encoding="utf-8")), folder


def _runs(pid: int) -> bool:
    """Look whether there is a process of that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _eventually(condition: Callable[[], bool]) -> bool:
    """Wait some seconds for a condition."""
    deadline = time.monotonic() + 15
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
