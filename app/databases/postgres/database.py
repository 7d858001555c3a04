"""PostgreSQL 13 and later."""

import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import URL, Connection, Engine, func, select, true
from sqlalchemy.exc import DBAPIError, IntegrityError

from threadlog.databases.base import (
    AUTOCOMMIT_REFUSED,
    Backend,
    Driver,
    EngineSettings,
    EngineUse,
    PoolSize,
    choose_driver,
    refuse_older,
    server_options,
    take_pool_options,
)
from threadlog.databases.postgres.errors import connecting_type, error_type, sqlstate_of
from threadlog.databases.postgres.failover import connect_to_servers
from threadlog.databases.postgres.sessions import SessionSettings
from threadlog.databases.timeouts import TimeLimits, take_limits, watch
from threadlog.databases.urls import parse_hosts
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    StorageError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.repositories import UnitOfWork

MINIMUM_VERSION: Final = (13,)

# Those of applications, in whose place threadlog uses its own.
_DRIVERS: Final = ("asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000")

# Every setting that the statements and the drivers rely on, whatever the defaults of the server,
# the database and the role are. extra_float_digits: 0 would cut microseconds off epoch seconds.
# quote_all_identifiers: the catalogue's texts are compared. lock_timeout is as long as MySQL's.
_SETTINGS: Final = (
    "-c TimeZone=UTC -c DateStyle=ISO -c lock_timeout=50s "
    "-c client_encoding=UTF8 -c standard_conforming_strings=on -c bytea_output=hex "
    "-c extra_float_digits=1 -c quote_all_identifiers=off -c transform_null_equals=off "
    "-c array_nulls=on"
)

# After five executions the server may use a generic plan, which locks all partitions, and writers
# would then contend for the server's lock table.
_PLAN_EACH: Final = "-c plan_cache_mode=force_custom_plan"

_QUOTED: Final = re.compile(r'"([^"]+)"')

# Settings as PostgreSQL's own programs have them; a backslash precedes a space in a value.
_SETTING: Final = re.compile(r"(?:-c\s*|--)([\w.-]+)=((?:\\.|[^\s\\])*)(?!\S)")

# Options of PostgreSQL's own client library that both drivers support.
_TLS_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OPTIONS: Final = frozenset(
    {
        *_TLS_FILES,
        "sslmode",
        "sslpassword",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "application_name",
        "passfile",
    }
)
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_CACHE: Final = "prepared_statement_cache_size"

# The time that a migration waits for another; one that creates all tables takes seconds.
_MIGRATION_SECONDS: Final = 120
_MIGRATION_LOCK: Final = int.from_bytes(sha256(b"threadlog").digest()[:8], signed=True)

# The maximum of a JSONB value; a bytes value may be four times as large.
_MAX_BYTES: Final = 2**28 - 1


class PostgresBackend(Backend):
    """PostgreSQL through asyncpg, or through psycopg without asyncio.

    A URL may have the TLS options of PostgreSQL's own programs (``sslmode``, ``sslrootcert``,
    …), ``application_name``, ``passfile`` and ``options``. A pooler such as PgBouncer is noticed
    on connecting; ``prepared_statement_cache_size=0`` says that there is one.
    """

    name = "PostgreSQL"
    framework_name = "postgres"
    dialects = ("postgresql",)
    joins_inserts = True
    asynchronous = Driver("asyncpg", "postgres")
    synchronous = Driver("psycopg", "postgres")

    def settings(self, url: URL, pool: PoolSize, use: EngineUse) -> EngineSettings:
        """Choose the driver, the isolation level and TLS; see `Backend.settings`."""
        default = self.synchronous if use.synchronous else self.asynchronous
        driver = choose_driver(url, default, (), _DRIVERS)
        if not url.database:
            raise ConfigurationError(
                "The URL names no database. Write postgresql://user:password@host:5432/database."
            )
        query = dict(url.query)
        limits = take_limits(query)
        pooling = take_pool_options(query)
        hosts = [str(host) for host in parse_hosts(url)]
        query.pop("host", None)
        defaults = f"{_SETTINGS} {_PLAN_EACH}" if use.partitioned else _SETTINGS
        session = SessionSettings(
            values=_parse_settings(f"{defaults} {query.pop('options', '')}"),
            pooled=query.pop(_CACHE, None) == "0",
        )
        return EngineSettings(
            url=url.set(drivername=f"postgresql+{driver}", query={"host": hosts} if hosts else {}),
            options={
                **({"use_native_hstore": False} if use.synchronous else {}),
                **server_options(pool, limits, use),
                **pooling,
                "connect_args": _arguments(query, session, limits, synchronous=use.synchronous),
            },
            limits=limits,
        )

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Enforce the limits, and connect to the primary if the URL has several hosts."""
        watch(engine, limits, code=(), ping=engine.dialect.do_ping)
        connect_to_servers(engine)

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse releases before 13, and databases that cannot store every character."""
        refuse_older(self.name, uow.catalogue.server_version(), MINIMUM_VERSION)
        encoding, _ = uow.catalogue.encodings()
        if encoding != "UTF8":
            raise UnsupportedServerError(
                found=f"PostgreSQL with a database in {encoding}",
                required="a database in UTF8: CREATE DATABASE … ENCODING 'UTF8'",
            )
        return self.name

    def verify_session(self, uow: UnitOfWork) -> None:
        """Refuse autocommit and other character sets."""
        if uow.catalogue.commits_each_statement():
            raise ConfigurationError(AUTOCOMMIT_REFUSED)
        _, encoding = uow.catalogue.encodings()
        if encoding != "UTF8":
            raise ConfigurationError(
                f"The engine's sessions use the encoding {encoding}, which cannot encode all "
                "characters. Remove client_encoding from the engine's URL and options, or set it "
                "to utf8."
            )

    def begin_migration(self, connection: Connection) -> None:
        """Acquire an advisory lock, valid in this database only, until the transaction ends.

        A lock of the session would stay behind in a pooler.
        """
        # A snapshot taken before the wait would not show the tables that the other one created.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        usual = connection.scalar(select(func.current_setting("lock_timeout")))
        limit, reset = (
            func.set_config("lock_timeout", value, true())
            for value in (f"{_MIGRATION_SECONDS}s", usual)
        )
        try:
            lock = func.pg_advisory_xact_lock(_MIGRATION_LOCK)
            connection.execute(select(limit, lock, reset))
        except DBAPIError as error:
            if self.error_type(error) is not CheckpointerLockTimeoutError:
                raise
            raise CheckpointerLockTimeoutError(
                f"Another migration of the database has been running for {_MIGRATION_SECONDS} "
                "seconds or longer"
            ) from error

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Return the maximum size of a JSON document."""
        return _MAX_BYTES

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Decide by the server's error code, and by whether the connection was lost."""
        return error_type(error)

    def is_denied(self, error: DBAPIError) -> bool:
        """Decide by the server's error code."""
        return sqlstate_of(error.orig) == "42501"

    def referring_table(
        self, uow: UnitOfWork, error: IntegrityError, referred: Collection[str]
    ) -> str:
        """Read the table from the server's message, which quotes it last."""
        found = _QUOTED.findall(str(error.orig).partition("\n")[0])
        return found[-1] if found else "another table"

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Return an error for one of asyncpg that SQLAlchemy does not wrap, as in connecting."""
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "asyncpg":
            return None
        return connecting_type(error)(str(error).partition("\n")[0] or type(error).__name__)


def _arguments(
    query: dict[str, Any], settings: SessionSettings, limits: TimeLimits, *, synchronous: bool
) -> Mapping[str, Any]:
    """Return the arguments of `open_session` for a URL's options.

    Raises:
        ConfigurationError: an option is unknown, or names a file that does not exist.
    """
    _check_options(query)
    if synchronous:
        # psycopg accepts whole seconds, at least two.
        seconds = max(2, round(limits.connect))
        return {**query, "settings": settings, "connect_timeout": seconds}
    return {
        # asyncpg accepts the options of PostgreSQL's own programs only in such a string.
        **({"dsn": f"postgresql://?{urlencode(query)}"} if query else {}),
        "settings": settings,
        "timeout": limits.connect,
    }


def _parse_settings(options: str) -> dict[str, str]:
    if _SETTING.sub("", options).strip():
        raise ConfigurationError(
            "The option 'options' of the URL cannot be read. Write it as -c name=value, with a "
            "backslash before a space in a value."
        )
    return {
        name.replace("-", "_"): re.sub(r"\\(.)", r"\1", value)
        for name, value in _SETTING.findall(options)
    }


def _check_options(query: Mapping[str, Any]) -> None:
    if unknown := sorted(query.keys() - _OPTIONS):
        raise ConfigurationError(
            f"Unknown option in the URL: {', '.join(unknown)}. Remove it, or correct its name."
        )
    mode = query.get("sslmode", _MODES[0])
    if mode not in _MODES:
        raise ConfigurationError(
            f"Unknown sslmode {mode!r} in the URL. Use one of: {', '.join(_MODES)}."
        )
    for option in _TLS_FILES:
        if option in query and not Path(str(query[option])).is_file():
            raise ConfigurationError(
                f"The file that {option} in the URL names does not exist. Check its path."
            )
