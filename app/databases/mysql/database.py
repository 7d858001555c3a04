"""MySQL 8.0.13 and later, and MariaDB 10.6 and later. A URL of either may lead to the other."""

import re
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

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
from threadlog.databases.mysql.failover import (
    CONNECTING,
    error_code,
    follow_primary,
    is_wrong_certificate,
    refuses_writes,
)
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
from threadlog.models.dialects.names import MYSQL, schema_of
from threadlog.repositories import UnitOfWork

MINIMUM_VERSION: Final = (8, 0, 13)
"""The first release of MySQL in which a JSON column may have an expression as its default."""

MINIMUM_MARIADB: Final = (10, 6, 0)
"""The first release of MariaDB that has JSON_TABLE and SKIP LOCKED."""

_ASYNCHRONOUS: Final = ("asyncmy", "aiomysql")
_SYNCHRONOUS: Final = ("pymysql",)
# Those of applications, in whose place threadlog uses its own.
_DRIVERS: Final = (*_ASYNCHRONOUS, *_SYNCHRONOUS, "mysqldb", "mysqlconnector", "mariadbconnector")

# Every variable that the statements rely on, whatever the server's defaults and init_connect are.
# sql_mode: strict, or the server would truncate long values. Without NO_BACKSLASH_ESCAPES, as the
# drivers escape with backslashes in every mode: the text of a message would be executed as SQL.
# Without modes that read other SQL, such as MariaDB's EMPTY_STRING_IS_NULL.
# autocommit: a session that begins with 0 does not say so to the driver, which would not switch
# it on for a pool that only reads. The driver switches it off for the other pools.
# sql_select_limit and max_sort_length would leave out rows; completion_type chains transactions;
# SQLAlchemy reads what SHOW CREATE TABLE quotes.
_INIT: Final = (
    "SET NAMES utf8mb4, time_zone = '+00:00', "
    "sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, "
    "completion_type = 0, foreign_key_checks = 1, unique_checks = 1, sql_safe_updates = 0, "
    "sql_auto_is_null = 0, sql_big_selects = 1, sql_select_limit = 18446744073709551615, "
    "max_sort_length = 1024, sql_quote_show_create = 1"
)

# The time that a migration waits for another; one that creates all tables takes seconds.
_MIGRATION_SECONDS: Final = 120

# The server's default of sql_select_limit is 2^64 - 1. A lower one that no log reaches is accepted.
_ROW_LIMIT: Final = 2**32 - 1

_LOST: Final = 2013  # from the client library: the connection was lost during a statement

# Error codes of the servers and of the client library:
# dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
# mariadb.com/kb/en/mariadb-error-code-reference/
_ERRORS: Final[dict[int, type[StorageError]]] = {
    1205: CheckpointerLockTimeoutError,
    1213: DeadlockError,
    1020: DeadlockError,  # MariaDB's innodb_snapshot_isolation: changed since it was read
    3101: DeadlockError,  # group replication: another member was first
    1406: ColumnTooShortError,
    **CONNECTING,
    1053: ConnectionLostError,  # shutdown in progress
    1927: ConnectionLostError,  # connection was killed
    3032: ConnectionLostError,  # in offline mode, as a member that its group expelled
    3169: ConnectionLostError,  # session was killed
    2006: ConnectionLostError,
    _LOST: ConnectionLostError,
    2055: ConnectionLostError,
    4031: ConnectionLostError,  # closed by the server after idling
}

_NOT_MARIADB: Final = "is not a MariaDB variant"  # SQLAlchemy's text

# The drivers' text if an account's authentication plugin needs another package.
_MISSING: Final = re.compile(r"'(\w+)' package is required for \w+")

_DENIED: Final = {1142, 1143}  # to the table, to a column

# The table of a foreign key that forbade a deletion.
_REFERRING: Final = re.compile(r"[`\"]([^`\"]+)[`\"], CONSTRAINT")

_FAILED_COMMIT: Final = 1180
_IN_DEADLOCK: Final = "error 149"  # HA_ERR_LOCK_DEADLOCK
_DUPLICATE: Final = 1062
_INSERT_MESSAGE: Final = re.compile(rf"INSERT INTO (\S+\.)?{Message.__tablename__} ")


class MySQLBackend(Backend):
    """MySQL or MariaDB through asyncmy, or through aiomysql if the URL names it."""

    name = "MySQL"
    framework_name = "mysql"
    dialects = MYSQL
    asynchronous = Driver("asyncmy", "mysql")
    synchronous = Driver("pymysql", "mysql-sync")

    def settings(self, url: URL, pool: PoolSize, use: EngineUse) -> EngineSettings:
        """Choose the driver, the isolation level and TLS; see `Backend.settings`."""
        default = self.synchronous if use.synchronous else self.asynchronous
        also = _SYNCHRONOUS if use.synchronous else _ASYNCHRONOUS
        driver = choose_driver(url, default, also, _DRIVERS)
        if not url.database:
            raise ConfigurationError(
                f"The URL names no database. Write {url.get_backend_name()}://user:password@"
                "host:3306/database."
            )
        parse_hosts(url)  # raises if one is invalid
        query = dict(url.query)
        tls = _take_tls(query, driver)
        limits = take_limits(query)
        pooling = take_pool_options(query)
        _check_options(query)
        return EngineSettings(
            # With "mariadb" SQLAlchemy itself checks the kind of server, and refuses MySQL.
            url=url.set(drivername=f"mysql+{driver}", query={**query, "charset": "utf8mb4"}),
            options={
                **server_options(pool, limits, use),
                **pooling,
                "skip_autocommit_rollback": use.reading,
                "connect_args": {
                    "init_command": _INIT,
                    **tls,
                    **_password(url),
                    **_connect_arguments(driver, limits),
                },
            },
            limits=limits,
        )

    def attach(self, engine: Engine, limits: TimeLimits) -> None:
        """Enforce the limits, and connect to the primary if the URL has several hosts."""
        watch(engine, limits)
        follow_primary(engine)

    def verify_server(self, uow: UnitOfWork) -> str:
        """Refuse releases of MySQL before 8.0.13 and of MariaDB before 10.6.

        Raises:
            ConfigurationError: the driver cannot send bytes.
        """
        _check_driver(uow)
        name, minimum = "MySQL", MINIMUM_VERSION
        if uow.catalogue.is_mariadb():
            name, minimum = "MariaDB", MINIMUM_MARIADB
        refuse_older(name, uow.catalogue.server_version(), minimum)
        return name

    def verify_session(self, uow: UnitOfWork) -> None:
        """Refuse autocommit, other character sets, and modes and limits that change answers."""
        found = uow.catalogue.session_settings()
        if found.autocommit:
            raise ConfigurationError(AUTOCOMMIT_REFUSED)
        if found.charset != "utf8mb4":
            raise ConfigurationError(
                f"The engine's sessions use the character set {found.charset}, which cannot encode "
                "all characters. Add ?charset=utf8mb4 to the engine's URL."
            )
        if "STRICT" not in found.sql_mode:
            raise ConfigurationError(
                "The engine's sessions are not in strict mode (sql_mode): the server would "
                "truncate values that are too long. Add STRICT_TRANS_TABLES to the server's "
                "sql_mode, or to the session's with an init_command."
            )
        if "EMPTY_STRING_IS_NULL" in found.sql_mode:
            raise ConfigurationError(
                "The engine's sessions have sql_mode EMPTY_STRING_IS_NULL: the server would store "
                "empty texts as NULL. Remove it from the sql_mode, or set another with an "
                "init_command."
            )
        if found.row_limit < _ROW_LIMIT:
            raise ConfigurationError(
                f"The engine's sessions have sql_select_limit = {found.row_limit}: the server "
                "would leave out messages of longer threads. Set it to DEFAULT with an "
                "init_command, or SET GLOBAL sql_select_limit = 18446744073709551615."
            )
        # PyMySQL asks the server how to escape. The asyncio drivers do not: text would become SQL.
        if found.driver in _ASYNCHRONOUS and "NO_BACKSLASH_ESCAPES" in found.sql_mode:
            raise ConfigurationError(
                f"The engine's sessions have sql_mode NO_BACKSLASH_ESCAPES, which {found.driver} "
                "ignores: the text of messages would be executed as SQL. Create the engine with "
                "connect_args={'init_command': \"SET sql_mode = REPLACE(@@sql_mode, "
                "'NO_BACKSLASH_ESCAPES', '')\"}."
            )

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[None]:
        """Hold a named lock of the server: each DDL statement commits the transaction."""
        url = connection.engine.url
        name = _lock_name(url.set(database=schema_of(connection) or url.database))
        if connection.scalar(select(func.get_lock(name, _MIGRATION_SECONDS))) != 1:
            raise CheckpointerLockTimeoutError(
                f"Another migration of the database has been running for {_MIGRATION_SECONDS} "
                "seconds or longer"
            )
        connection.rollback()  # ends the transaction, not the lock
        try:
            yield
        finally:
            # The server itself releases the lock of a lost connection.
            if not connection.invalidated:
                connection.execute(select(func.release_lock(name)))
                connection.rollback()

    def statement_limit(self, uow: UnitOfWork) -> int:
        """Return the session's max_allowed_packet, and how the driver writes bytes."""
        return uow.catalogue.max_allowed_packet()

    def error_type(self, error: DBAPIError) -> type[StorageError]:
        """Decide by the server's error code, and by whether the connection was lost."""
        code = error_code(error.orig)
        if refuses_writes(error.orig):
            return NotWritableError
        if _lost_to_another_member(code, error):
            return DeadlockError
        if is_wrong_certificate(error.orig):
            return ConnectionFailedError
        if code in _ERRORS:
            # The text is PyMySQL's, and threadlog's own for the drivers without a limit.
            if code == _LOST and "timed out" in str(error.orig):
                return StatementTimeoutError
            return _ERRORS[code]
        return ConnectionLostError if error.connection_invalidated else StorageError

    def is_denied(self, error: DBAPIError) -> bool:
        """Decide by the server's error code."""
        return error_code(error.orig) in _DENIED

    def referring_table(
        self, uow: UnitOfWork, error: IntegrityError, referred: Collection[str]
    ) -> str:
        """Read the table from the server's message."""
        found = _REFERRING.search(str(error.orig))
        return found[1] if found else "another table"

    def refusal(self, error: Exception) -> ThreadlogError | None:
        """Return an error for a missing package, or for MySQL behind a URL of MariaDB."""
        if missing := _MISSING.search(str(error)):
            return MissingExtraError(missing[1], None)
        if not isinstance(error, InvalidRequestError) or _NOT_MARIADB not in str(error):
            return None
        return ConfigurationError(
            "The engine's URL begins with mariadb, but its server is MySQL. Begin the URL with "
            "mysql, as in mysql+asyncmy://: SQLAlchemy accepts both servers then."
        )


class MariaDBBackend(MySQLBackend):
    """The same servers, if the URL begins with mariadb."""

    name = "MariaDB"
    framework_name = "mariadb"
    asynchronous = Driver("asyncmy", "mariadb")
    synchronous = Driver("pymysql", "mariadb")


def _lost_to_another_member(code: int | None, error: DBAPIError) -> bool:
    """Return True if another member of the group wrote to the thread at the same time.

    A lock is held on one member only. The commit of another member arrives between the read of
    the last seq and the insert after it, or in COMMIT. Neither happens on a single server.
    """
    if code == _DUPLICATE:
        return _INSERT_MESSAGE.match(error.statement or "") is not None
    return code == _FAILED_COMMIT and _IN_DEADLOCK in str(error.orig)


def _check_driver(uow: UnitOfWork) -> None:
    """Check that aiomysql can send bytes: 0.3.2 cannot with PyMySQL 1.2, on which it builds.

    Raises:
        ConfigurationError: it cannot.
    """
    if uow.connection.dialect.driver != "aiomysql":
        return
    try:
        uow.catalogue.send_bytes()
    except TypeError as error:
        raise ConfigurationError(
            "aiomysql cannot send bytes with the installed release of PyMySQL. Use asyncmy, "
            "with a URL that begins with mysql+asyncmy://, or run: pip install 'pymysql<1.2'"
        ) from error


def _check_options(query: Mapping[str, Any]) -> None:
    """Refuse options of a URL that would change what is stored."""
    if query.get("charset", "utf8mb4") != "utf8mb4":
        raise ConfigurationError(
            "The charset of a connection must be utf8mb4. Remove charset from the URL."
        )
    if "init_command" in query:
        raise ConfigurationError(
            "The URL's init_command would replace threadlog's own. Remove it, and set the "
            "server's defaults instead."
        )


def _lock_name(url: URL) -> str:
    """Return the name of the lock of a database's migrations, of at most 64 characters.

    A name is valid in the whole server, so it contains the database, in lower case: some
    servers ignore the case of databases.
    """
    return f"threadlog-{sha256((url.database or '').lower().encode()).hexdigest()[:48]}"


def _password(url: URL) -> Mapping[str, bytes]:
    """Return a password that is not ASCII as the bytes that the server hashed.

    The drivers would encode text as Latin-1, but accounts are created over utf8mb4 connections.
    """
    if url.password is None or url.password.isascii():
        return {}
    return {"password": url.password.encode()}


def _connect_arguments(driver: str, limits: TimeLimits) -> Mapping[str, Any]:
    """Return a driver's arguments for the limit of the log-in.

    PyMySQL reads with this limit until `watch` sets that of statements.
    """
    arguments: dict[str, Any] = {"connect_timeout": limits.connect}
    if driver in _ASYNCHRONOUS:
        return {**arguments, "async_creator_fn": limited_connect(driver, limits)}
    return {**arguments, "read_timeout": limits.connect, "write_timeout": limits.statement}


def _take_tls(query: dict[str, Any], driver: str) -> Mapping[str, Any]:
    """Remove the TLS options from a URL's query and return the driver's arguments for them.

    The names are those of MySQL's client, with underscores or hyphens: ``ssl_mode``
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
        # Without the argument PyMySQL uses TLS if the server supports it.
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
            f"Unknown or unused TLS option in the URL: {', '.join(sorted(options))}. Remove it, or "
            "correct its name."
        )
    return {"ssl": context}


def _ssl_mode(options: dict[str, str]) -> str:
    verify_host = options.pop("ssl_check_hostname", "true").lower() not in {"false", "0", "no"}
    enabled = options.pop("ssl", "true").lower()
    has_ca = "ssl_ca" in options or "ssl_capath" in options
    default = "VERIFY_IDENTITY" if verify_host else "VERIFY_CA"
    mode = options.pop("ssl_mode", default if has_ca else "REQUIRED").upper()
    if enabled in {"false", "0", "no"}:
        mode = "DISABLED"
    if mode not in {"DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}:
        raise ConfigurationError(
            f"Unknown ssl_mode {mode!r} in the URL. Use DISABLED, PREFERRED, REQUIRED, VERIFY_CA "
            "or VERIFY_IDENTITY."
        )
    if mode == "DISABLED":
        options.clear()
    return mode
