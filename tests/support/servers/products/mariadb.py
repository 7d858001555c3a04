"""MariaDB, as the tests run it."""

import re
import signal
from pathlib import Path
from typing import Final

from tests.support.servers.product import Image, Packages, Product
from tests.support.servers.products.mysql_family import (
    PORT,
    announced_version,
    placing,
    runner,
)
from tests.support.servers.program import Program

_DURABLE: Final = ("--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1", "--log-bin=binlog")
_FAST: Final = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=OFF",
    "--skip-log-bin",
)


def _settings(durable: bool) -> list[str]:  # noqa: FBT001 - its type is Product's
    # MySQL's default; a fourth of it is MariaDB's.
    packet = "--max-allowed-packet=64M"
    return ["--max-connections=500", packet, *(_DURABLE if durable else _FAST)]


def _initialisation(program: Program, data: Path) -> list[str]:
    script = program.companion("mariadb-install-db", "../bin", "../scripts")
    return [
        *program.prefix,
        str(script),
        "--no-defaults",
        f"--basedir={script.parent.parent}",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",  # a password, which is empty; not a socket
        "--skip-test-db",
        "--force",  # or it wants the machine to have a name that can be looked up
        *runner(),
    ]


def _options(root: Path) -> tuple[str, ...]:
    share = root / "usr/share/mysql"
    return (
        f"--basedir={root / 'usr'}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
    )


MARIADB: Final = Product(
    name="mariadb",
    title="MariaDB",
    scheme="mariadb",
    account="root",
    port=PORT,
    minimum=(10, 6),
    # Some greet as 5.5.5-10.6.1-MariaDB, for clients that expect the version of a MySQL.
    version=re.compile(r"(?:^(?:5\.5\.5-)?|\bVer )(\d+)\.(\d+)\.(\d+)-MariaDB"),
    programs=("mariadbd", "mysqld"),
    folders=("usr/sbin",),  # not everybody's PATH has it
    first_options=("--no-defaults",),
    user=None,
    stop_signal=signal.SIGTERM,
    ready=b"ready for connections",
    packages=Packages(
        suite=None,
        names=("mariadb-server-core", "mariadb-client-core"),
        kept=re.compile(r"mariadb-\w+-core|zlib|lib(?!c6)"),
        program="usr/sbin/mariadbd",
        options=_options,
    ),
    image=Image("mariadb:11.8", "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=yes"),
    settings=_settings,
    placing=placing,
    initialisation=_initialisation,
    announced=announced_version,
)
