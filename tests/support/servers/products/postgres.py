"""PostgreSQL, as the tests run it."""

import re
import signal
from pathlib import Path
from typing import Final

from sqlalchemy import URL, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import HOST, Image, Packages, Product
from tests.support.servers.program import Program

_ACCOUNT: Final = "postgres"
_HOME: Final = "postgres"  # a database that every server has
_PORT: Final = 5432
_FAST: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_ICU_SINCE: Final = (15,)


def _settings(durable: bool) -> list[str]:  # noqa: FBT001 - its type is Product's
    chosen = [
        "max_connections=500",
        "jit=off",  # needs a compiler's library, which is not unpacked
        "shared_preload_libraries=pg_stat_statements",  # for tests that count statements
        *(() if durable else _FAST),
    ]
    return _set(*chosen)


def _set(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("-c", setting)]


def _placing(folder: Path, port: int) -> list[str]:
    own = (f"listen_addresses={HOST}", "unix_socket_directories=")
    options = _set(*own, f"external_pid_file={folder / 'pid'}")
    return ["-D", str(folder / "data"), "-p", str(port), *options]


def _initialisation(program: Program, data: Path) -> list[str]:
    """Set a collation that sorts as people do, as in production: ids must not be sorted so."""
    natural = ["--locale-provider=icu", "--icu-locale=en"] if program.version >= _ICU_SINCE else []
    return [
        *program.prefix,
        str(program.companion("initdb")),
        f"--pgdata={data}",
        f"--username={_ACCOUNT}",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        *natural,
        "--lc-messages=C",  # what the log says is looked for
        "--no-sync",
    ]


def _announced(url: URL) -> str:
    """Log in and ask; before that a server tells no version."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg", database=url.database or _HOME),
        poolclass=NullPool,
        connect_args={"connect_timeout": 5},
    )
    try:
        with engine.connect() as connection:
            return str(connection.exec_driver_sql("SHOW server_version").scalar_one())
    except DBAPIError as error:
        place = f"{url.host or 'localhost'}:{url.port or _PORT}"
        raise SourceFailedError(f"no server answers at {place}: {error.orig}") from error


POSTGRES: Final = Product(
    name="postgres",
    title="PostgreSQL",
    scheme="postgresql",
    account=_ACCOUNT,
    port=_PORT,
    minimum=(13,),
    version=re.compile(r"(?:^|(?<=\(PostgreSQL\) ))(\d+)(?:\.(\d+))?"),
    programs=("postgres",),
    folders=("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin"),  # Debian's, Red Hat's
    first_options=(),
    user="nobody",  # PostgreSQL refuses to be run by root
    stop_signal=signal.SIGINT,  # on SIGTERM it waits until its clients have gone
    ready=b"database system is ready to accept connections",
    packages=Packages(
        suite=None,
        names=("postgresql",),  # depends on the release's version
        kept=re.compile(r"postgresql-\d|zlib|lib(?!c6|c-|llvm|z3|db|gdbm|.*perl)"),
        program="usr/lib/postgresql/*/bin/postgres",
        options=lambda root: (),
    ),
    image=Image("postgres:17", "POSTGRES_HOST_AUTH_METHOD=trust"),
    settings=_settings,
    placing=_placing,
    initialisation=_initialisation,
    announced=_announced,
)
