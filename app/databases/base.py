"""What the rest of the application asks of a database."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from threadlog.databases.timeouts import TimeLimits
from threadlog.errors import StorageError, ThreadlogError
from threadlog.models import SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.schema.result import Check


@dataclass(frozen=True, slots=True)
class PoolSize:
    """Connections that are opened at the start, and the most there may be at once."""

    least: int
    most: int


def third_for_reading(pool: PoolSize) -> tuple[PoolSize, PoolSize]:
    """Set a third of the connections aside for reading, which saves each read its ROLLBACK."""
    reading = pool.most // 3
    writing = pool.most - reading
    open_minimum = min(reading, max(1, pool.least - writing)) if pool.least else 0
    # One of each kind at least: a connection that is opened late delays its operation.
    least = max(pool.least - open_minimum, min(pool.least, 1))
    return PoolSize(least, writing), PoolSize(open_minimum, reading)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is created from."""

    url: URL
    options: dict[str, Any] = field(default_factory=dict)
    limits: TimeLimits = field(default_factory=TimeLimits)


@dataclass(frozen=True, slots=True)
class Driver:
    """What talks to a database where the URL does not name another."""

    name: str
    extra: str | None
    """The extra of the distribution that brings it; None where Python does."""


class Backend(Protocol):
    """One kind of database."""

    name: str
    """Its name for people."""

    word: str
    """Its name in the frameworks' errors."""

    dialects: tuple[str, ...]
    """The names of SQLAlchemy's dialects for it."""

    asynchronous: Driver
    synchronous: Driver

    read_committed: bool
    """Whether engines made from `settings` read at READ COMMITTED."""

    def layout_checks(self, part: SchemaPart) -> list[tuple[str, Check]]:
        """Give the checks of what only this kind of database has, by their names, in order."""

    def missing_file(self, url: URL) -> str | None:
        """Name the file that the first use of the database would create, if any."""

    def divide(self, pool: PoolSize) -> tuple[PoolSize, PoolSize]:
        """Divide connections into those that write and those that only read.

        Where separate ones for reading gain nothing the second has none.
        """

    def settings(
        self, url: URL, pool: PoolSize, *, reading: bool = False, synchronous: bool = False
    ) -> EngineSettings:
        """Choose the driver and the options of an engine that threadlog owns.

        Args:
            url: the database.
            pool: the engine's connections.
            reading: the engine only reads, and each statement is to be a transaction.
            synchronous: the engine is a plain one, not of asyncio.

        Raises:
            ConfigurationError: the URL cannot be used.
        """

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Attach the listeners that connections of such an engine need.

        Args:
            engine: made from `settings`.
            limits: those of the settings, or others.
        """

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse a server of the wrong kind or version.

        Returns:
            The kind of server for people, which may be another than `name`.

        Raises:
            UnsupportedServerError: it is one.
        """

    def verify_session(self, uow: UnitOfWork) -> None:
        """Refuse a session that a host opened if it would not keep what threadlog promises.

        Raises:
            ConfigurationError: it would not.
        """

    def lock_for_writing(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Begin a transaction of a host's session that is going to write to a part's tables.

        Where a transaction that has read may be unable to write later, it writes at once.
        """

    def initialise_schema(self, uow: UnitOfWork, part: SchemaPart) -> None:
        """Create a part of the schema where the database is embedded and empty; else do nothing."""

    def migration_lock(self, connection: Connection) -> AbstractContextManager[None]:
        """Keep other migrations of the database out of the block.

        The connection has no transaction begun, and has none in the block until the block
        begins one; what the block does is to be committed before it ends.

        Raises:
            CheckpointerLockTimeoutError: another migration ran for too long.
        """

    def begin_migration(self, connection: Connection) -> None:
        """Do what `migration_lock` could not do before the block began its transaction.

        Raises:
            DBAPIError: another migration ran for too long.
        """

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Give the most bytes that one statement may have."""

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Say which of threadlog's errors a driver's error is."""

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Give what to raise in place of an error that is not of the database, if there is
        more to say.
        """
