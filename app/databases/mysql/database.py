"""MySQL 8.0.13 and later, and MariaDB 10.6 and later, which a URL of either may lead to."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from threadlog.databases.base import (
    AUTOCOMMIT_REFUSED,
    Backend,
    Driver,
    EngineSettings,
    PoolSize,
    refuse_older,
    server_options,
)
from threadlog.databases.mysql.failover import code_of, follow_primary, refuses_writes
from threadlog.databases.timeouts import TimeLimits, limited_connect, take_limits, watch
from threadlog.databases.urls import parse_hosts
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ColumnTooShortError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    MissingExtraError,
    NotWritableError,
    StatementTimeoutError,
    StorageError,
    ThreadlogError,
)
from threadlog.models import Message
from threadlog.models.dialects import MYSQL
from threadlog.repositories import UnitOfWork

MINIMUM_VERSION: Final = (8, 0, 13)
"""The first release of MySQL in which a JSON column may have an expression as its default."""

MINIMUM_MARIADB: Final = (10, 6, 0)
"""The first release of MariaDB that has JSON_TABLE and SKIP LOCKED."""

_ASYNCHRONOUS: Final = ("asyncmy", "aiomysql")
_SYNCHRONOUS: Final = ("pymysql",)

# The drivers escape with backslashes whatever the server's mode says: where it says not to,
# content of a message would be read as SQL. Without strict mode what is too long would be cut.
_INIT: Final = (
    "SET time_zone = '+00:00', sql_mode = CONCAT_WS(',', 'STRICT_TRANS_TABLES', "
    "NULLIF(REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', ''), ''))"
)

# How long a migration waits for another; one that creates all tables takes seconds.
_MIGRATION_SECONDS: Final = 120

_LOST: Final = 2013  # the client library's: while a statement ran

# Error codes of the servers and of the client library:
# dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
# mariadb.com/kb/en/mariadb-error-code-reference/
_ERRORS: Final[dict[int, type[StorageError]]] = {
    1205: CheckpointerLockTimeoutError,
    1213: DeadlockError,
    1020: DeadlockError,  # MariaDB's innodb_snapshot_isolation: changed since it was read
    3101: DeadlockError,  # group replication: another member was first
    1406: ColumnTooShortError,
    1044: ConnectionFailedError,
    1045: ConnectionFailedError,
    1049: ConnectionFailedError,
    1040: ConnectionLostError,  # too many connections
    1053: ConnectionLostError,  # shutdown in progress
    1927: ConnectionLostError,  # connection was killed
    3032: ConnectionLostError,  # in offline mode, as a member that its group expelled
    3169: ConnectionLostError,  # session was killed
    2002: ConnectionLostError,
    2003: ConnectionLostError,
    2006: ConnectionLostError,
    _LOST: ConnectionLostError,
    2055: ConnectionLostError,
    4031: ConnectionLostError,  # closed by the server after idling
}

_NOT_MARIADB: Final = "is not a MariaDB variant"  # SQLAlchemy's words

# The words of the drivers where an account's way to log in needs a further package.
_MISSING: Final = re.compile(r"'(\w+)' package is required for \w+")

_FAILED_COMMIT: Final = 1180
_IN_DEADLOCK: Final = "error 149"  # HA_ERR_LOCK_DEADLOCK
_DUPLICATE: Final = 1062
_INTO_LOG: Final = f"INSERT INTO {Message.__tablename__} "


class MySQLBackend(Backend):
    """MySQL or MariaDB through asyncmy, or aiomysql where the URL asks for it."""

    name = "MySQL"
    word = "mysql"
    dialects = MYSQL
    asynchronous = Driver("asyncmy", "mysql")
    synchronous = Driver("pymysql", "mysql-sync")

    def settings(
        self, url: URL, pool: PoolSize, *, reading: bool = False, synchronous: bool = False
    ) -> EngineSettings:
        """Choose the driver, the isolation level and TLS; see `Backend.settings`."""
        driver = _driver(url, self.synchronous if synchronous else self.asynchronous)
        if not url.database:
            raise ConfigurationError(
                f"The URL names no database. Write {url.get_backend_name()}://user:password@"
                "host:3306/database."
            )
        parse_hosts(url)  # refuses what is none
        query = dict(url.query)
        tls = _take_tls(query, driver)
        limits = take_limits(query)
        _check_options(query)
        return EngineSettings(
            # Of these names SQLAlchemy itself makes sure with "mariadb" alone which server
            # it meets, and refuses MySQL.
            url=url.set(drivername=f"mysql+{driver}", query={**query, "charset": "utf8mb4"}),
            options={
                **server_options(pool, limits, reading=reading),
                "skip_autocommit_rollback": reading,
                "connect_args": {
                    "init_command": _INIT,
                    **tls,
                    **_password(url),
                    **_connecting(driver, limits),
                },
            },
            limits=limits,
        )

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Have connections keep the limits, and go to the primary where there are several hosts."""
        watch(engine, limits)
        follow_primary(engine)

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse releases of MySQL before 8.0.13 and of MariaDB before 10.6."""
        name, least = "MySQL", MINIMUM_VERSION
        if uow.catalogue.is_mariadb():
            name, least = "MariaDB", MINIMUM_MARIADB
        refuse_older(name, uow.catalogue.server_version(), least)
        return name

    def verify_session(self, uow: UnitOfWork) -> None:
        """Refuse autocommit, other character sets and NO_BACKSLASH_ESCAPES."""
        found = uow.catalogue.session_settings()
        if found.autocommit:
            raise ConfigurationError(AUTOCOMMIT_REFUSED)
        if found.charset != "utf8mb4":
            raise ConfigurationError(
                f"The engine's sessions send {found.charset}, not utf8mb4, and would lose "
                "characters. Add ?charset=utf8mb4 to the engine's URL."
            )
        if "STRICT" not in found.sql_mode:
            raise ConfigurationError(
                "The engine's sessions are not in strict mode (sql_mode): the server would cut "
                "what is too long. Add STRICT_TRANS_TABLES to the server's sql_mode, or to the "
                "session's with an init_command."
            )
        # PyMySQL asks the server how to escape; these do not, and text would become SQL.
        if found.driver in _ASYNCHRONOUS and "NO_BACKSLASH_ESCAPES" in found.sql_mode:
            raise ConfigurationError(
                f"The engine's sessions have sql_mode NO_BACKSLASH_ESCAPES, which {found.driver} "
                "does not heed: text of messages would be read as SQL. Create the engine with "
                "connect_args={'init_command': \"SET sql_mode = REPLACE(@@sql_mode, "
                "'NO_BACKSLASH_ESCAPES', '')\"}."
            )

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        """Hold a lock of the server's by name: each DDL statement ends its transaction."""
        name = _lock_name(connection.engine.url)
        if connection.scalar(select(func.get_lock(name, _MIGRATION_SECONDS))) != 1:
            raise CheckpointerLockTimeoutError(
                f"Another migration of the database is running, for {_MIGRATION_SECONDS} seconds "
                "at least"
            )
        connection.rollback()  # ends the transaction, not the lock
        try:
            yield
        finally:
            # The server itself releases the lock of a connection that is gone.
            if not connection.invalidated:
                connection.execute(select(func.release_lock(name)))
                connection.rollback()

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Give the session's max_allowed_packet."""
        return uow.catalogue.max_allowed_packet()

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Tell by the server's error code, and by whether the connection is gone."""
        code = code_of(error.orig)
        if refuses_writes(error.orig):
            return NotWritableError
        if _lost_to_another_member(code, error):
            return DeadlockError
        if code in _ERRORS:
            # PyMySQL's words, and ours for the drivers that have no limit.
            if code == _LOST and "timed out" in str(error.orig):
                return StatementTimeoutError
            return _ERRORS[code]
        return ConnectionLostError if error.connection_invalidated else StorageError

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Tell what a driver lacks, or that an engine for MariaDB alone has met MySQL."""
        if missing := _MISSING.search(str(error)):
            return MissingExtraError(missing[1], None)
        if not isinstance(error, InvalidRequestError) or _NOT_MARIADB not in str(error):
            return None
        return ConfigurationError(
            "The engine's URL begins with mariadb, and its server is MySQL. Begin it with mysql, "
            "as in mysql+asyncmy://, with which SQLAlchemy takes both."
        )


class MariaDBBackend(MySQLBackend):
    """The same, where the URL says MariaDB."""

    name = "MariaDB"
    word = "mariadb"
    asynchronous = Driver("asyncmy", "mariadb")
    synchronous = Driver("pymysql", "mariadb")


def _lost_to_another_member(code: int | None, error: DBAPIError) -> bool:
    """Say whether another member of a group wrote to the thread at the same time.

    Locks are a member's own. What another one committed arrives between the read that finds
    the last seq and the insert behind it, or in COMMIT; on one server neither can be.
    """
    if code == _DUPLICATE:
        return (error.statement or "").startswith(_INTO_LOG)
    return code == _FAILED_COMMIT and _IN_DEADLOCK in str(error.orig)


def _driver(url: URL, default: Driver) -> str:
    """Give the driver that a URL names, or the default, of the same kind as the default."""
    scheme, _, name = url.drivername.partition("+")
    name = name or default.name
    if default.name in _SYNCHRONOUS and name not in _SYNCHRONOUS:
        raise ConfigurationError(
            f"The driver {name!r} is not a synchronous one. Use {scheme}:// for PyMySQL, or "
            "threadlog.Checkpointer with asyncio."
        )
    if default.name in _ASYNCHRONOUS and name not in _ASYNCHRONOUS:
        raise ConfigurationError(
            f"The driver {name!r} is not an asyncio driver. Use {scheme}:// for asyncmy, or "
            f"{scheme}+aiomysql://; threadlog.SyncCheckpointer takes {scheme}+pymysql://."
        )
    return name


def _check_options(query: Mapping[str, Any]) -> None:
    """Refuse options of a URL that would change what is stored."""
    if query.get("charset", "utf8mb4") != "utf8mb4":
        raise ConfigurationError("The charset of a connection must be utf8mb4: leave it out.")
    if "init_command" in query:
        raise ConfigurationError("init_command is threadlog's own; set the server's defaults.")


def _lock_name(url: URL) -> str:
    """Name the lock of a database's migrations, in the 64 characters that a name may have.

    Names are the server's, not the database's. Some servers fold the case of databases.
    """
    return f"threadlog-{sha256((url.database or '').lower().encode()).hexdigest()[:48]}"


def _password(url: URL) -> Mapping[str, bytes]:
    """Give a password beyond ASCII as the bytes that the server hashed.

    The drivers would encode text as Latin-1, accounts are made over utf8mb4 connections.
    """
    if url.password is None or url.password.isascii():
        return {}
    return {"password": url.password.encode()}


def _connecting(driver: str, limits: TimeLimits) -> Mapping[str, Any]:
    """Give a driver its arguments for the time that a log-in may take.

    PyMySQL reads at this limit until `watch` gives it that of statements.
    """
    arguments: dict[str, Any] = {"connect_timeout": limits.connect}
    if driver in _ASYNCHRONOUS:
        return {**arguments, "async_creator_fn": limited_connect(driver, limits)}
    return {**arguments, "read_timeout": limits.connect, "write_timeout": limits.statement}


def _take_tls(query: dict[str, Any], driver: str) -> Mapping[str, Any]:
    """Take the TLS options out of a URL's query and make the driver's argument of them.

    Understands the client's own names, with underscores or hyphens: ``ssl_mode``
    (DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY), ``ssl_ca``, ``ssl_capath``,
    ``ssl_cert``, ``ssl_key``, ``ssl_cipher``, and SQLAlchemy's ``ssl_check_hostname``.
    A CA without a mode verifies CA and host name.
    """
    given = {key.replace("-", "_"): key for key in query if key.startswith("ssl")}
    if not given:
        return {}
    options = {name: str(query.pop(key)) for name, key in given.items()}
    mode = _ssl_mode(options)
    if mode == "DISABLED":
        # Left alone, PyMySQL encrypts where the server can.
        return {"ssl_disabled": True} if driver in _SYNCHRONOUS else {}
    try:
        context = ssl.create_default_context(
            cafile=options.pop("ssl_ca", None), capath=options.pop("ssl_capath", None)
        )
        if mode != "VERIFY_IDENTITY":
            context.check_hostname = False
        if mode in {"PREFERRED", "REQUIRED"}:
            context.verify_mode = ssl.CERT_NONE
        if "ssl_cert" in options:
            context.load_cert_chain(options.pop("ssl_cert"), options.pop("ssl_key", None))
        if "ssl_cipher" in options:
            context.set_ciphers(options.pop("ssl_cipher"))
    except OSError as error:
        raise ConfigurationError(
            f"The TLS options of the URL cannot be used: {error}. Check the files that they name."
        ) from error
    if options:
        raise ConfigurationError(
            f"Unknown or unused TLS option in the URL: {', '.join(sorted(options))}."
        )
    return {"ssl": context}


def _ssl_mode(options: dict[str, str]) -> str:
    verify_host = options.pop("ssl_check_hostname", "true").lower() not in {"false", "0", "no"}
    switch = options.pop("ssl", "true").lower()
    has_ca = "ssl_ca" in options or "ssl_capath" in options
    default = "VERIFY_IDENTITY" if verify_host else "VERIFY_CA"
    mode = options.pop("ssl_mode", default if has_ca else "REQUIRED").upper()
    if switch in {"false", "0", "no"}:
        mode = "DISABLED"
    if mode not in {"DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}:
        raise ConfigurationError(
            f"Unknown ssl_mode {mode!r}: use DISABLED, PREFERRED, REQUIRED, VERIFY_CA or "
            "VERIFY_IDENTITY."
        )
    if mode == "DISABLED":
        options.clear()
    return mode
