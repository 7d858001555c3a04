"""PostgreSQL 13 and later."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

from sqlalchemy import URL, Connection, Engine, func, select, true
from sqlalchemy.exc import DBAPIError

from threadlog.databases.base import (
    AUTOCOMMIT_REFUSED,
    Backend,
    Driver,
    EngineSettings,
    PoolSize,
    refuse_older,
    server_options,
)
from threadlog.databases.postgres.errors import error_type
from threadlog.databases.postgres.failover import connect_to_servers
from threadlog.databases.timeouts import TimeLimits, take_limits, watch
from threadlog.databases.urls import parse_hosts
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    StorageError,
    UnsupportedServerError,
)
from threadlog.repositories import UnitOfWork

MINIMUM_VERSION: Final = (13,)

# What is stored does not depend on them, but for how long is waited for locks: as on MySQL.
# A plan for whatever thread comes, which the server makes of a statement that it met five times,
# locks all partitions, and writers then queue for the server's table of locks.
_SETTINGS: Final = (
    "-c TimeZone=UTC -c DateStyle=ISO -c lock_timeout=50s -c plan_cache_mode=force_custom_plan"
)

# Words of PostgreSQL's own client library that both drivers know.
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

# How long a migration waits for another; one that creates all tables takes seconds.
_MIGRATION_SECONDS: Final = 120
_MIGRATION_LOCK: Final = int.from_bytes(sha256(b"threadlog").digest()[:8], signed=True)

# JSONB holds no more; values of bytes might be four times as large.
_MOST_BYTES: Final = 2**28 - 1


class PostgresBackend(Backend):
    """PostgreSQL through asyncpg, or psycopg where there is no asyncio.

    A URL takes the TLS options of PostgreSQL's own programs (``sslmode``, ``sslrootcert``, …),
    ``application_name``, ``passfile`` and ``options``. Behind a pooler that gives each
    transaction another session and knows nothing of prepared statements, such as PgBouncer
    before 1.21, add ``prepared_statement_cache_size=0``.
    """

    name = "PostgreSQL"
    word = "postgres"
    dialects = ("postgresql",)
    asynchronous = Driver("asyncpg", "postgres")
    synchronous = Driver("psycopg", "postgres")

    def settings(
        self, url: URL, pool: PoolSize, *, reading: bool = False, synchronous: bool = False
    ) -> EngineSettings:
        """Choose the driver, the isolation level and TLS; see `Backend.settings`."""
        driver = _driver(url, self.synchronous if synchronous else self.asynchronous)
        if not url.database:
            raise ConfigurationError(
                "The URL names no database. Write postgresql://user:password@host:5432/database."
            )
        query = dict(url.query)
        limits = take_limits(query)
        hosts = [str(host) for host in parse_hosts(url)]
        query.pop("host", None)
        arguments = _arguments(query, limits, synchronous=synchronous)
        options = {"use_native_hstore": False} if synchronous else {}
        return EngineSettings(
            url=url.set(drivername=f"postgresql+{driver}", query={"host": hosts} if hosts else {}),
            options={
                **options,
                **server_options(pool, limits, reading=reading),
                "connect_args": arguments,
            },
            limits=limits,
        )

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Have connections keep the limits, and go to the primary where there are several hosts."""
        watch(engine, limits, code=(), ping=engine.dialect.do_ping)
        connect_to_servers(engine)

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse releases before 13, and databases that cannot hold every character."""
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
                f"The engine's sessions send {encoding}, not UTF8, and would lose characters. "
                "Leave client_encoding out of the engine's URL and options, or make it utf8."
            )

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        """Hold a lock of the session's, which is the database's own."""
        limit = func.set_config("lock_timeout", f"{_MIGRATION_SECONDS}s", true())
        connection.execute(select(limit))
        try:
            connection.execute(select(func.pg_advisory_lock(_MIGRATION_LOCK)))
        except DBAPIError as error:
            if self.error_type(error) is not CheckpointerLockTimeoutError:
                raise
            raise CheckpointerLockTimeoutError(
                f"Another migration of the database is running, for {_MIGRATION_SECONDS} seconds "
                "at least"
            ) from error
        connection.rollback()  # ends the transaction, not the lock
        try:
            yield
        finally:
            # The server itself releases the lock of a connection that is gone.
            if not connection.invalidated:
                connection.execute(select(func.pg_advisory_unlock(_MIGRATION_LOCK)))
                connection.rollback()

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Give what the largest JSON document may have."""
        return _MOST_BYTES

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Tell by the server's error code, and by whether the connection is gone."""
        return error_type(error)


def _driver(url: URL, default: Driver) -> str:
    """Give the driver that a URL names, which must be the default."""
    name = url.drivername.partition("+")[2] or default.name
    if name != default.name:
        raise ConfigurationError(
            f"The driver {name!r} is not the one to use here. Use postgresql://: "
            "threadlog.Checkpointer takes asyncpg for it, threadlog.SyncCheckpointer psycopg."
        )
    return name


def _arguments(
    query: dict[str, Any], limits: TimeLimits, *, synchronous: bool
) -> Mapping[str, Any]:
    """Make the driver's arguments of a URL's options, which lose them.

    Raises:
        ConfigurationError: one is unknown, or names a file that there is not.
    """
    settings = f"{_SETTINGS} {query.pop('options', '')}".rstrip()
    prepares = query.pop(_CACHE, None) != "0"
    _check_options(query)
    if synchronous:
        prepared = {} if prepares else {"prepare_threshold": None}
        # Whole seconds, of which it takes two at least.
        seconds = max(2, round(limits.connect))
        return {**query, **prepared, "options": settings, "connect_timeout": seconds}
    unprepared: dict[str, Any] = {
        _CACHE: 0,
        "statement_cache_size": 0,
        # A server's session may have statements of another client's.
        "prepared_statement_name_func": lambda: f"threadlog_{uuid4().hex}",
    }
    return {
        **({} if prepares else unprepared),
        # The driver takes the words of PostgreSQL's own programs only from such a string.
        **({"dsn": f"postgresql://?{urlencode(query)}"} if query else {}),
        "server_settings": {"options": settings},
        "timeout": limits.connect,
    }


def _check_options(query: Mapping[str, Any]) -> None:
    if unknown := sorted(query.keys() - _OPTIONS):
        raise ConfigurationError(f"Unknown option in the URL: {', '.join(unknown)}.")
    mode = query.get("sslmode", _MODES[0])
    if mode not in _MODES:
        raise ConfigurationError(f"Unknown sslmode {mode!r}: use {', '.join(_MODES)}.")
    for option in _TLS_FILES:
        if option in query and not Path(str(query[option])).is_file():
            raise ConfigurationError(
                f"The TLS options of the URL cannot be used: {option} names no file."
            )
