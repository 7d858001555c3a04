"""How the tests' own MySQL server is found, started and stopped."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, make_url

from tests.support.databases import fresh_database, on_connection
from tests.support.matrix import on_each
from tests.support.patience import PATIENCE_SECONDS, eventually
from tests.support.servers import debian, fake_mysqld, serving, wheels
from tests.support.servers.apt_source import (
    AptSource,
    debian_source,
    machine_sources,
    parse_deb822,
    parse_one_line,
)
from tests.support.servers.cache import PROJECT, cache_lock, draft
from tests.support.servers.error import ServerUnavailableError, SourceFailedError
from tests.support.servers.finding import program_on_path
from tests.support.servers.process import data_folder_of
from tests.support.servers.product import Product, Wheels
from tests.support.servers.products import (
    EVERY_PRODUCT,
    MARIADB,
    MONGODB,
    MYSQL,
    POSTGRES,
    PRODUCTS,
    REDIS,
)
from tests.support.servers.readiness import answers
from tests.support.servers.server import Server, own_program, running_server
from tests.support.servers.supervisor import supervised

_FAKE = (sys.executable, str(Path(fake_mysqld.__file__)))

each_product = pytest.mark.parametrize("product", EVERY_PRODUCT.values(), ids=EVERY_PRODUCT)
each_server = pytest.mark.parametrize("product", on_each(EVERY_PRODUCT.values()))
each_sql_server = pytest.mark.parametrize("product", on_each(PRODUCTS.values()))

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
    ("product", "text", "version"),
    [
        (MYSQL, "/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", (9, 7, 4)),
        (MYSQL, "mysqld  Ver 8.0.13 for Linux on x86_64 (MySQL Community - GPL)", (8, 0, 13)),
        (MYSQL, "mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server)", (8, 0, 36)),
        (MYSQL, "8.4.0", (8, 4, 0)),
        (MARIADB, "mariadbd  Ver 10.6.0-MariaDB for debian-linux-gnu on x86_64", (10, 6, 0)),
        (MARIADB, "5.5.5-10.11.18-MariaDB-0+deb12u1", (10, 11, 18)),
        (MARIADB, "11.8.3-MariaDB-ubu2404", (11, 8, 3)),
        (POSTGRES, "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
        (POSTGRES, "postgres (PostgreSQL) 19devel", (19, 0)),
        (POSTGRES, "13.0", (13, 0)),
        (MONGODB, "db version v8.0.4", (8, 0, 4)),
        (MONGODB, "6.0.19", (6, 0, 19)),
        (REDIS, "Redis server v=7.4.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", (7, 4, 1)),
        (REDIS, "8.2.0", (8, 2, 0)),
    ],
)
def test_supported_versions(product: Product, text: str, version: tuple[int, ...]) -> None:
    """Versions are read from what programs print and from what servers tell."""
    assert product.supported_version(text) == version


@pytest.mark.parametrize(
    ("product", "text", "reason"),
    [
        (MYSQL, "mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for Linux", "no MySQL: .*MariaDB"),
        (MYSQL, "5.5.5-11.4.2-MariaDB-log", "no MySQL: .*MariaDB"),
        (MYSQL, "mysqld  Ver 8.0.12 for Linux on x86_64", r"8\.0\.12 is older than 8\.0\.13"),
        (MYSQL, "mysqld  Ver 5.7.44 for Linux on x86_64", r"5\.7\.44 is older"),
        (MYSQL, "something else", "no MySQL: 'something else'"),
        (MARIADB, "mariadbd  Ver 10.5.29-MariaDB for Linux", r"10\.5\.29 is older than 10\.6"),
        (MARIADB, "mysqld  Ver 9.7.4 for Linux on x86_64", "no MariaDB"),
        (MARIADB, "8.4.0", "no MariaDB"),
        (POSTGRES, "postgres (PostgreSQL) 12.22", r"12\.22 is older than 13"),
        (POSTGRES, "8.4.0-cluster", r"8\.4 is older"),
        (POSTGRES, "something else", "no PostgreSQL"),
        (MONGODB, "db version v5.0.31", r"5\.0\.31 is older than 6"),
        (REDIS, "Redis server v=7.0.15 sha=00000000:0", r"7\.0\.15 is older than 7\.2"),
    ],
)
def test_refused_versions(product: Product, text: str, reason: str) -> None:
    """Old releases and other products are not what the tests need."""
    with pytest.raises(SourceFailedError, match=reason):
        product.supported_version(text)


def test_a_program_of_that_name_is_asked_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program called mysqld may be MariaDB's: it is refused by the one, taken by the other."""
    program = tmp_path / "mysqld"
    program.write_text("#!/bin/sh\necho 'mysqld  Ver 11.8.3-MariaDB for Linux on x86_64'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceFailedError, match=f"{program}: this is no MySQL: .*MariaDB"):
        program_on_path(MYSQL)
    assert program_on_path(replace(MARIADB, folders=())).version == (11, 8, 3)


def test_the_newest_of_several_releases_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian keeps each PostgreSQL in a folder of its own, and none on PATH."""
    for release in ("9", "15", "13"):
        program = tmp_path / release / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {release}.1'\n")
        program.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    anybody = replace(POSTGRES, folders=(f"{tmp_path.relative_to('/')}/*/bin",), user=None)
    assert program_on_path(anybody).version == (15, 1)


def test_sid_from_deb822_sources() -> None:
    """Of several stanzas the one of Debian's main archive is taken, with its key."""
    lines = debian_source(parse_deb822(_DEB822), "sid").splitlines()
    assert lines[:4] == [
        "Types: deb",
        "URIs: https://mirror.example/debian/",
        "Suites: sid",
        "Components: main",
    ]
    assert lines[4].startswith("Signed-By: -----BEGIN")
    assert lines[5:] == [" .", " bm90IGEga2V5", " -----END PGP PUBLIC KEY BLOCK-----"]


def test_the_machines_own_release() -> None:
    """The default suite is the machine's, without its updates."""
    assert "Suites: trixie" in debian_source(parse_deb822(_DEB822), None).splitlines()


def test_one_line_sources() -> None:
    """Comments, source packages and broken lines are passed over."""
    sources = list(parse_one_line(_ONE_LINE))
    mirror = "https://mirror.example/debian"
    assert sources[-1].signed_by == "/keys/debian.gpg"
    assert [source.mirror() for source in sources] == [None, None, mirror]
    assert debian_source(iter(sources), "sid") == (
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
        debian_source(iter([ubuntu]), None)


@each_product
def test_nothing_available(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, product: Product
) -> None:
    """A machine that offers nothing gets an error, and never a silent skip.

    It names each source with its reason, in order, and the ways out.
    """
    monkeypatch.delenv(product.variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(wheels, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    bare = replace(product, folders=())
    with pytest.raises(ServerUnavailableError) as raised, running_server(bare):
        pass
    lines = str(raised.value).splitlines()
    assert lines[0] == f"There is no {product.title} server for the tests. Tried:"
    assert lines[1] == f"- {product.variable}: not set"
    program = product.programs[0]
    assert lines[2].startswith(f"- {program} on PATH: there is no {program}")
    assert lines[3] == f"- Docker image {product.image.name}: there is no docker on PATH"
    if isinstance(product.packages, Wheels):
        file = f"{product.name}-server.txt"
        assert lines[4].startswith(f"- the wheels of {file}: {sys.executable} failed with")
        assert not list((tmp_path / product.name).glob("wheels-*")), "nothing is left half done"
    else:
        assert lines[4].startswith("- Debian's packages: not a Debian machine: no apt-get")
    oldest = ".".join(map(str, product.minimum))
    assert all(part in lines[-1] for part in (product.variable, oldest, f"install {program}"))


@each_server
def test_server_by_url(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, product: Product
) -> None:
    """A server named by the environment is used as it is."""
    url = request.getfixturevalue(f"{product.name}_server_url")
    monkeypatch.setenv(product.variable, url)
    with running_server(product) as server:
        assert server == Server(product, url, None, product.variable)


@each_product
def test_server_by_url_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, product: Product
) -> None:
    """A wrong URL is an error, not a reason to start another server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = make_url(product.url(port)).set(username="root", password="secret")  # noqa: S106 - made up
    monkeypatch.setenv(product.variable, url.render_as_string(hide_password=False))
    with (
        pytest.raises(ServerUnavailableError, match=f"no server answers at .*:{port}") as raised,
        running_server(product),
    ):
        pass
    assert "secret" not in str(raised.value)


def test_server_by_url_of_another_product(
    monkeypatch: pytest.MonkeyPatch, mariadb_server_url: str
) -> None:
    """A MariaDB is not taken for a MySQL."""
    monkeypatch.setenv(MYSQL.variable, mariadb_server_url.replace("mariadb:", "mysql:"))
    with pytest.raises(ServerUnavailableError, match=r"no MySQL: .*MariaDB"), running_server(MYSQL):
        pass


def test_a_redis_without_modules_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: Server
) -> None:
    """Such a program is passed over at once, and the reason given."""
    assert isinstance(REDIS.packages, Wheels)
    program = REDIS.packages.program(wheels.unpacked_wheels(REDIS, REDIS.packages))
    (tmp_path / "redis-server").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(wheels, "CACHE", tmp_path)
    with pytest.raises(ServerUnavailableError) as raised, running_server(REDIS):
        pass
    assert re.search(
        r"redis-server on PATH: the Redis at .* lacks ReJSON, search", str(raised.value)
    )


@pytest.mark.parametrize("product", on_each([MONGODB, REDIS]))
def test_a_server_out_of_wheels_listens_on_loopback_alone(
    request: pytest.FixtureRequest, product: Product
) -> None:
    url = make_url(request.getfixturevalue(f"{product.name}_server_url"))
    assert url.port is not None
    listening = {
        int(fields[1].rpartition(":")[2], 16): fields[1].rpartition(":")[0]
        for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]
        if (fields := line.split())[3] == "0A"
    }
    assert listening[url.port] == "0100007F"


@each_sql_server
def test_a_server_listens_on_loopback_alone(
    request: pytest.FixtureRequest, product: Product
) -> None:
    """No other machine can reach it, whose accounts have no passwords."""
    ask = "SHOW listen_addresses" if product is POSTGRES else "SELECT @@bind_address"
    url = request.getfixturevalue(f"{product.name}_database")
    listening = on_connection(url, lambda c: str(c.exec_driver_sql(ask).scalar_one()))
    assert asyncio.run(listening) == "127.0.0.1"


def test_draft_is_all_or_nothing(tmp_path: Path) -> None:
    """An incomplete draft leaves nothing; the next lock removes drafts of killed processes."""
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
        "import sys; from pathlib import Path; from tests.support.servers.cache import cache_lock\n"
        "from tests.support.servers.command import run\n"
        "folder = Path(sys.argv[1])\n"
        "with cache_lock(folder):\n"
        "    (folder / 'data.draft-x').mkdir()\n"
        "    script = 'touch started; until test -e done; do sleep 0.05; done'\n"
        "    run(['sh', '-c', f'cd {folder}; {script}'], seconds=600)\n"
    )
    leftover = tmp_path / "data.draft-x"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT) as holder:
        assert eventually((tmp_path / "started").exists)
        holder.kill()
    cleared = threading.Event()

    def clear() -> None:
        with cache_lock(tmp_path):
            if not leftover.exists():
                cleared.set()

    waiting = threading.Thread(target=clear)
    waiting.start()
    assert not cleared.wait(0.3)
    assert leftover.exists()
    (tmp_path / "done").touch()
    waiting.join(PATIENCE_SECONDS)
    assert cleared.is_set()


@pytest.mark.processes
def test_supervised_server_stops_with_the_block(pristine: Path) -> None:
    """The server greets inside the block; after it, process and data folder are gone."""
    with supervised(
        "process", product="mysql", command=_FAKE, data=str(pristine), durable=False
    ) as report:
        pid, folder = _traces(report)
        assert MYSQL.announced(make_url(report["url"])) == "8.4.0-fake"
        assert _runs(pid)
    assert not _runs(pid)
    assert not folder.exists()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.processes
def test_supervised_server_stops_when_its_user_is_killed(
    pristine: Path, signal_number: signal.Signals
) -> None:
    """However a test run ends, its server and the data folder go within seconds."""
    with _user(_fake(pristine)) as user:
        pid, folder = _traces(_report(user))
        assert _runs(pid)
        user.send_signal(signal_number)
        user.wait(PATIENCE_SECONDS)
        assert eventually(lambda: not _runs(pid) and not folder.exists())


@each_sql_server
def test_real_servers_are_durable_if_asked_and_stop_when_their_user_is_killed(
    product: Product,
) -> None:
    """Benchmarks and chaos tests run servers as in production, and leave nothing behind."""
    program = own_program(product)
    data = str(data_folder_of(product, program))
    arguments = {"product": product.name, "command": program.command, "data": data}
    with _user({**arguments, "durable": True}) as user:
        report = _report(user)
        pid, folder = _traces(report)
        with fresh_database(report["url"]) as url:
            assert asyncio.run(on_connection(url, _durability)) in {"111", "ononon"}
        user.kill()
        user.wait(PATIENCE_SECONDS)
        assert eventually(lambda: not _runs(pid) and not folder.exists())


@each_server
def test_a_server_that_is_killed_comes_back_where_it_was(product: Product) -> None:
    """A killed server is restarted as a service manager would."""
    program = own_program(product)
    data = str(data_folder_of(product, program))
    arguments = {"product": product.name, "command": program.command, "data": data}
    with supervised("restarting", **arguments, durable=True) as report:
        pid, folder = _traces(report)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: answers(product, report["url"]) and _traces(report)[0] != pid)
    assert not folder.exists()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_heeds_signals_that_it_was_started_to_ignore(
    monkeypatch: pytest.MonkeyPatch, signal_number: signal.Signals
) -> None:
    """Shells without job control start background commands with SIGINT ignored."""

    def serve(product: Product, *, durable: bool) -> None:
        os.kill(os.getpid(), signal_number)
        time.sleep(10)
        raise AssertionError(durable)

    monkeypatch.setattr(serving, "_serve", serve)
    monkeypatch.setattr(sys, "argv", ["mysql"])
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        signal.signal(signal_number, signal.SIG_IGN)
        assert serving.main(MYSQL) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.processes
def test_server_that_ends_while_starting(pristine: Path) -> None:
    """The error has the end of the server's log."""
    (pristine / "failure").write_text("first line\nthe disk is full\n", encoding="utf-8")
    with (
        pytest.raises(SourceFailedError, match=r"(?s)ended while starting.*the disk is full"),
        supervised("process", **_fake(pristine)),
    ):
        pass


@pytest.mark.processes
def test_port_taken_by_another_process(pristine: Path) -> None:
    """A port that is lost between choosing and binding is replaced by another."""
    (pristine / "failure").write_text("bind: Address already in use\n", encoding="utf-8")
    with supervised(
        "process", product="mysql", command=_FAKE, data=str(pristine), durable=False
    ) as report:
        assert _runs(_traces(report)[0])


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    """Return a data folder to copy."""
    folder = tmp_path / "pristine"
    folder.mkdir()
    return folder


def _fake(pristine: Path) -> dict[str, Any]:
    """Return the arguments that run a substitute for mysqld."""
    return {"product": "mysql", "command": _FAKE, "data": str(pristine), "durable": False}


@contextmanager
def _user(arguments: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Start a process that uses a supervised server and tells where it is."""
    code = (
        "import json, signal, sys, time\n"
        "from tests.support.servers.supervisor import supervised\n"
        # Ignored where the tests run in the background of a shell that is not interactive.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with supervised('process', **json.loads(sys.argv[1])) as report:\n"
        "    print(json.dumps(report), flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as user:
        try:
            yield user
        finally:
            user.kill()


def _report(user: subprocess.Popen[str]) -> dict[str, str]:
    """Read where the server is."""
    assert user.stdout is not None
    report: dict[str, str] = json.loads(user.stdout.readline())
    return report


def _durability(connection: Connection) -> str:
    """Return a server's settings that make a commit wait for the disk."""
    if connection.dialect.name == "postgresql":
        names = ("fsync", "synchronous_commit", "full_page_writes")
        return "".join(connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names)
    names = ("innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin")
    return "".join(str(connection.exec_driver_sql(f"SELECT @@{n}").scalar_one()) for n in names)


def _traces(report: dict[str, str]) -> tuple[int, Path]:
    """Find the server's process id and temporary folder."""
    folder = Path(report["data_folder"]).parent
    return int((folder / "pid").read_text(encoding="utf-8")), folder


def _runs(pid: int) -> bool:
    """Return True if a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
