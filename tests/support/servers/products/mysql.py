"""MySQL, as the tests run it."""

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
    "--disable-log-bin",
)


def _settings(durable: bool) -> list[str]:  # noqa: FBT001 - its type is Product's
    return [
        "--loose-mysqlx=OFF",
        "--secure-file-priv=NULL",  # its usual folder is not there, and it would not start
        "--max-connections=500",
        *(_DURABLE if durable else _FAST),
    ]


def _initialisation(program: Program, data: Path) -> list[str]:
    options = [f"--datadir={data}", *runner(), *_settings(durable=False)]
    return [*program.command, "--initialize-insecure", *options]


def _options(root: Path) -> tuple[str, ...]:
    share = root / "usr/share/mysql"
    return (
        f"--basedir={root / 'usr'}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        f"--plugin-dir={root / 'usr/lib/mysql/plugin'}",
    )


MYSQL: Final = Product(
    name="mysql",
    title="MySQL",
    scheme="mysql",
    account="root",
    port=PORT,
    minimum=(8, 0, 13),
    version=re.compile(r"(?:^|\bVer )(\d+)\.(\d+)\.(\d+)(?!.*MariaDB)"),
    programs=("mysqld",),
    folders=(),
    first_options=("--no-defaults",),
    user=None,
    stop_signal=signal.SIGTERM,
    ready=b"ready for connections",
    packages=Packages(
        suite="sid",  # releases carry MariaDB alone
        names=("mysql-server-core", "mysql-client-core"),
        kept=re.compile(r"(?!perl|libdb|libgdbm)"),  # those are of scripts that nobody runs here
        program="usr/sbin/mysqld",
        options=_options,
    ),
    image=Image("mysql:8.4", "MYSQL_ALLOW_EMPTY_PASSWORD=yes"),
    settings=_settings,
    placing=placing,
    initialisation=_initialisation,
    announced=announced_version,
)
