"""The base class of all backends, and the values that they exchange with the rest of `app`."""

import re
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from threadlog.databases.timeouts import TimeLimits
from threadlog.encryption import Encryption
from threadlog.errors import (
    ConfigurationError,
    StorageError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.models import SchemaPart
from threadlog.repositories import UnitOfWork

AUTOCOMMIT_REFUSED: Final = (
    "The engine's sessions are in AUTOCOMMIT: no lock would last beyond its statement. Pass an "
    "engine without that isolation level."
)

_SESSION_REFUSED: Final = (
    "The session is in AUTOCOMMIT: no lock would last beyond its statement. Bind a session "
    "without that isolation level."
)

# Servers close idle connections, and network devices drop them silently.
_RECYCLE_SECONDS: Final = 1800


_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Facts about a database that are known when it is open."""

    statement_limit: int = 0
    """The most bytes that one statement may have; 0 before it is known."""

    has_control: bool = False
    """Whether the database has the tables of thread control."""

    has_search: bool = False
    """Whether the database has the search index."""

    encryption: Encryption | None = None
    """The application's encryption of the message log; None if it is in plain text."""


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The number of connections that a pool opens at the start, and its maximum."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class EngineUse:
    """The use of an engine that threadlog owns."""

    reading: bool = False
    """True if the engine only reads, and each statement is a transaction."""

    synchronous: bool = False
    """True if the engine does not use asyncio."""

    partitioned: bool = True
    """True if some tables that the engine is used for have many partitions."""

    statement_timeout: bool = True
    """False if statements have no time limit, as those of migrations."""

    snapshots: bool = False
    """True if all that a transaction reads must be of one point in time."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The arguments that an engine is created from."""

    url: URL
    options: dict[str, Any] = field(default_factory=dict)
    limits: TimeLimits = field(default_factory=TimeLimits)


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver for a database whose URL names no other."""

    name: str
    extra: str | None
    """The extra of the distribution that installs it; None if it is part of Python."""


class Backend:
    """One kind of database. The defaults are those of a server; SQLite overrides most."""

    name: str
    """Its name for people."""

    framework_name: str
    """Its name in the frameworks' errors."""

    dialects: tuple[str, ...]
    """The names of SQLAlchemy's dialects for it."""

    asynchronous: Driver
    synchronous: Driver

    read_committed: bool = True
    """True if engines made from `settings` read at READ COMMITTED."""

    embedded: bool = False
    """True if the database is a library in this process, not a server."""

    joins_inserts: bool = False
    """True if one statement can insert into several tables."""

    def missing_file(self, url: URL) -> str | None:
        """Return the file that the first use of the database would create; None if no file."""
        return None

    def divide(self, pool: PoolSize) -> tuple[PoolSize, PoolSize]:
        """Return the sizes of two pools: one that writes, one that only reads.

        A third of the connections only read, which saves each read its ROLLBACK, and on
        PostgreSQL its BEGIN.
        """
        reading = pool.most // 3
        writing = pool.most - reading
        least_reading = min(reading, max(1, pool.least - writing)) if pool.least else 0
        # One of each kind at least: a connection that is opened late delays its operation.
        least = max(pool.least - least_reading, min(pool.least, 1))
        return PoolSize(least, writing), PoolSize(least_reading, reading)

    def settings(self, url: URL, pool: PoolSize, use: EngineUse) -> EngineSettings:
        """Choose the driver and the options of an engine that threadlog owns.

        Args:
            url: the database.
            pool: the size of the engine's pool.
            use: the use of the engine.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        raise NotImplementedError

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Attach the listeners that the connections of an engine need.

        Args:
            engine: made from `settings`.
            limits: those of the settings, or others.
        """
        raise NotImplementedError

    def verify_server(self, uow: UnitOfWork) -> str:
        """Check the kind and the version of the server.

        Returns:
            The kind of server for people, which may differ from `name`.

        Raises:
            UnsupportedServerError: threadlog does not support the server.
        """
        raise NotImplementedError

    def verify_session(self, uow: UnitOfWork) -> None:
        """Check that a session of the application's engine would not lose data.

        Raises:
            ConfigurationError: it would.
        """

    def verify_transaction(self, uow: UnitOfWork) -> None:
        """Check, without a statement, that a session to join has a transaction.

        Raises:
            ConfigurationError: its connection was set to AUTOCOMMIT.
        """
        if self.is_autocommit(uow.connection):
            raise ConfigurationError(_SESSION_REFUSED)

    def is_autocommit(self, connection: Connection) -> bool:
        """Return True if a connection is known, without a statement, to be in AUTOCOMMIT."""
        level = connection.get_execution_options().get("isolation_level")
        return isinstance(level, str) and level.upper() == "AUTOCOMMIT"

    def lock_for_writing(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Lock the database in an application's transaction that is going to write to a part.

        Servers lock rows one by one, so the default does nothing.
        """

    def initialise_schema(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Create a part of the schema if the database is embedded and has none of its tables.

        The schema of a server is created by migrations alone, so the default does nothing.
        """

    def begin_snapshot(self, connection: Connection) -> None:
        """Begin a transaction that reads one point in time, unless it has begun already.

        Servers have it from the isolation level.
        """

    def migration_lock(self, connection: Connection) -> AbstractContextManager[None]:
        """Keep other migrations of the database out of the block.

        No transaction is begun on the connection, and none is in the block until the block
        begins one. The block commits its work before it ends.

        Raises:
            CheckpointerLockTimeoutError: another migration ran for too long.
        """
        return nullcontext()

    def begin_migration(self, connection: Connection) -> None:
        """Lock the database in the transaction of a migration, if `migration_lock` cannot.

        Raises:
            DBAPIError: another migration ran for too long.
        """

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Return the maximum size of one statement, in bytes."""
        raise NotImplementedError

    def lock_seconds(self, url: URL) -> float | None:
        """Return how long the driver itself waits for a lock; None if the server does.

        A lock timeout after that time is not retried.
        """
        return None

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Return threadlog's error class for an error of the driver."""
        raise NotImplementedError

    def is_denied(self, error: DBAPIError) -> bool:
        """Return True if an error of the driver means that the account lacks a right."""
        raise NotImplementedError

    def referring_table(
        self, uow: UnitOfWork, error: IntegrityError, referred: Collection[str]
    ) -> str:
        """Return the table whose foreign key forbade a deletion.

        Args:
            uow: a transaction.
            error: the driver's error.
            referred: the tables that rows were deleted from.
        """
        raise NotImplementedError

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Return the error to raise in place of one that is not a DBAPIError.

        Returns None if there is nothing to add to it.
        """
        return None


def choose_driver(url: URL, default: Driver, also: Collection[str], known: Collection[str]) -> str:
    """Return the driver for a URL: the one that it names, or the default in place of another kind.

    Applications have one URL for several libraries: ``mysql+pymysql://`` is also used for asyncio,
    by another driver.

    Args:
        url: the database.
        default: the driver of the engine.
        also: other drivers that the engine can use.
        known: further drivers of the database, whose names a URL may have.

    Raises:
        ConfigurationError: the URL names no driver of the database.
    """
    scheme, _, name = url.drivername.partition("+")
    if name in also:
        return name
    if name not in {"", default.name, *known}:
        raise ConfigurationError(
            f"The driver {name!r} is not supported in URLs. Write the URL as {scheme}://, for "
            f"{default.name}."
        )
    return default.name


def take_pool_options(query: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of the pool from a URL's query, and return an engine's.

    Raises:
        ConfigurationError: a value is not valid.
    """
    options: dict[str, Any] = {}
    if (recycle := query.pop("pool_recycle", None)) is not None:
        if not re.fullmatch(r"-1|\d{1,9}", str(recycle)):
            raise ConfigurationError(
                f"The option pool_recycle of the URL is {recycle!r}. It must be a whole number of "
                "seconds, or -1 for no limit."
            )
        options["pool_recycle"] = int(str(recycle))
    if (ping := query.pop("pool_pre_ping", None)) is not None:
        if str(ping).lower() not in _BOOLEANS:
            raise ConfigurationError(
                f"The option pool_pre_ping of the URL is {ping!r}. It must be true or false."
            )
        options["pool_pre_ping"] = _BOOLEANS[str(ping).lower()]
    return options


def pool_options(pool: PoolSize, limits: TimeLimits) -> dict[str, Any]:
    """Return the engine options for a pool of a fixed maximum."""
    return {
        "pool_size": pool.most,
        "max_overflow": 0,
        "pool_timeout": limits.pool,
        # Every unit of work ends its transaction itself; the pool's own ROLLBACK would be one
        # more round trip for each.
        "pool_reset_on_return": None,
    }


def server_options(pool: PoolSize, limits: TimeLimits, use: EngineUse) -> dict[str, Any]:
    """Return the engine options that MySQL, MariaDB and PostgreSQL share.

    READ COMMITTED: each statement sees what others committed before it. Under REPEATABLE READ,
    MySQL's default, the first writers of a thread deadlock in gap locks, and no operation needs
    its snapshots.
    """
    return {
        **pool_options(pool, limits),
        "isolation_level": "AUTOCOMMIT" if use.reading else "READ COMMITTED",
        "pool_recycle": _RECYCLE_SECONDS,
    }


def refuse_older(name: str, version: tuple[int, ...], minimum: tuple[int, ...]) -> None:
    """Raise UnsupportedServerError if the version is older than the minimum."""
    if version < minimum:
        raise UnsupportedServerError(
            found=f"{name} {'.'.join(map(str, version))}",
            required=f"{name} {'.'.join(map(str, minimum))} or later",
        )
