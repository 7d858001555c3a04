"""Looks a database over and reports everything that is wrong with it, and how to mend it.

Opening a `threadlog.Checkpointer` stops at the first fault; this goes on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from tenacity import Retrying, stop_after_attempt

from threadlog.backends import Backend, PoolSize, backend_of, parse_url
from threadlog.engines import open_engine
from threadlog.errors import (
    CubepiSchemaError,
    CubepiSchemaMismatch,
    StorageError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.models import (
    EXPECTED_SCHEMA_VERSION,
    MESSAGES,
    PARTITION_COUNT,
    Message,
    Run,
    Thread,
    cubepi_metadata,
)
from threadlog.repositories import UnitOfWork
from threadlog.schema import verify_schema
from threadlog.store import OwnedStore

_PARTITIONED: Final = (Message.__tablename__, Run.__tablename__)
_RECENT: Final = "ix_cubepi_threads_recent"
_ENGINE: Final = "InnoDB"
_COLLATION: Final = "utf8mb4_bin"

# Columns whose collation decides which conversation a row belongs to.
_THREAD_IDS: Final = ("thread_id", "parent_thread_id")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at the database showed."""

    check: str
    """What was looked at: ``connection``, ``server``, ``schema``, ``columns``, …"""

    status: Literal["ok", "warning", "error"]
    message: str

    remedy: str = ""
    """A SQL statement that mends it, where one does."""


Check = Callable[[UnitOfWork], Iterator[Finding]]


async def check_database(url: str | URL) -> list[Finding]:
    """Connect to a database and look at everything that threadlog relies on.

    Nothing is created or changed. A server that cannot be reached is a finding too.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: the database's driver is not installed.
    """
    parsed = parse_url(url)
    backend = backend_of(parsed)
    if file := backend.missing_file(parsed):
        message = f"There is no file {file!r}. It is created, with its tables, on first use."
        return [Finding("connection", "error", message)]
    engine = open_engine(backend, parsed, PoolSize(0, 1))
    try:
        return await AsyncSession(engine).run_sync(_inspect, backend)
    finally:
        await engine.dispose()


def _inspect(session: Session, backend: Backend) -> list[Finding]:
    store = OwnedStore(
        session,
        backend,
        MESSAGES,
        0,
        # Whether the server answers now is what is asked.
        retrying=Retrying(stop=stop_after_attempt(1), reraise=True),
    )
    try:
        findings = store.read(_connection)
    except StorageError as error:
        return [Finding("connection", "error", _unreachable(error))]
    for name, check in _checks(backend):
        findings += _attempt(store, name, check)
    return findings


def _checks(backend: Backend) -> list[tuple[str, Check]]:
    layout: list[tuple[str, Check]] = [
        ("engine", _engines),
        ("partitions", _partitions),
        ("collation", _collations),
    ]
    return [
        ("server", _server(backend)),
        ("schema", _schema),
        ("columns", _columns),
        *(layout if backend.has_layout else []),
        ("index", _index),
    ]


def _attempt(store: OwnedStore, name: str, check: Check) -> list[Finding]:
    """Run a check in a transaction of its own, so that the next can run if it fails."""
    try:
        return store.read(lambda uow: list(check(uow)))
    except (StorageError, CubepiSchemaError, UnsupportedServerError) as error:
        return [Finding(name, "error", _told(error))]


def _connection(uow: UnitOfWork) -> list[Finding]:
    version = ".".join(map(str, uow.catalogue.server_version()[:3]))
    return [Finding("connection", "ok", f"The database answers; its version is {version}.")]


def _unreachable(error: StorageError) -> str:
    if not error.retryable:
        return _told(error)
    return f"{error.reason.rstrip('.')}. Check that the server runs, and host and port in the URL."


def _told(error: ThreadlogError) -> str:
    """Give an error's text, without the advice to look at a cause that a finding lacks."""
    if type(error) is StorageError:
        return f"{error.reason.rstrip('.')}."
    return str(error)


def _server(backend: Backend) -> Check:
    def check(uow: UnitOfWork) -> Iterator[Finding]:
        backend.verify_server(uow)
        yield Finding("server", "ok", f"It is {backend.name}, and new enough.")

    return check


def _schema(uow: UnitOfWork) -> Iterator[Finding]:
    verify_schema(uow, MESSAGES)
    yield Finding("schema", "ok", f"The schema has version {EXPECTED_SCHEMA_VERSION}.")


def _columns(uow: UnitOfWork) -> Iterator[Finding]:
    existing = uow.catalogue.tables(MESSAGES)
    missing = sorted(cubepi_metadata.tables.keys() - existing)
    lacking = {
        name: columns
        for name, table in sorted(cubepi_metadata.tables.items())
        if name in existing and (columns := set(table.columns.keys()) - uow.catalogue.columns(name))
    }
    remedy = "" if lacking or _is_of_another_version(uow) else " Run: threadlog migrate URL"
    faults = [f"The table {name} is missing.{remedy}" for name in missing]
    faults += [
        f"{name} lacks {', '.join(sorted(columns))}. Upgrade it with the migrations that made it."
        for name, columns in lacking.items()
    ]
    # An empty database is one fault, which the check of the schema reports.
    if not existing:
        return
    yield from (Finding("columns", "error", fault) for fault in faults)
    if not faults:
        yield Finding("columns", "ok", "All tables have all of their columns.")


def _is_of_another_version(uow: UnitOfWork) -> bool:
    """Look whether others made the tables, so that our migrations refuse them."""
    try:
        verify_schema(uow, MESSAGES)
    except CubepiSchemaError as error:
        return isinstance(error, CubepiSchemaMismatch)
    return False


def _engines(uow: UnitOfWork) -> Iterator[Finding]:
    engines = uow.catalogue.engines(MESSAGES)
    faults = [
        Finding(
            "engine",
            "error",
            f"{table} is kept by {engine}, which has no transactions. Move it to {_ENGINE}.",
            uow.catalogue.engine_statement(table),
        )
        for table, engine in engines.items()
        if engine != _ENGINE
    ]
    if engines:
        yield from faults or [Finding("engine", "ok", f"All tables are kept by {_ENGINE}.")]


def _partitions(uow: UnitOfWork) -> Iterator[Finding]:
    tables = [table for table in _PARTITIONED if table in uow.catalogue.tables(MESSAGES)]
    faults = [fault for table in tables if (fault := _partition_fault(uow, table))]
    if tables:
        message = f"{' and '.join(tables)} have {PARTITION_COUNT} partitions by thread_id."
        yield from faults or [Finding("partitions", "ok", message)]


def _partition_fault(uow: UnitOfWork, table: str) -> Finding | None:
    found = uow.catalogue.partitioning(table)
    if found == ("KEY", PARTITION_COUNT, "`thread_id`"):
        return None
    shape = "is not partitioned"
    if found.method is not None:
        shape = f"has {found.partitions} partitions by {found.method} ({found.expression})"
    message = (
        f"{table} {shape}; it must have {PARTITION_COUNT} by KEY (thread_id). The statement "
        "rewrites the table and blocks writers meanwhile."
    )
    return Finding("partitions", "error", message, uow.catalogue.partition_statement(table))


def _collations(uow: UnitOfWork) -> Iterator[Finding]:
    collations = uow.catalogue.identifier_collations(MESSAGES)
    wrong: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for (table, column), collation in collations.items():
        if collation != _COLLATION and column in cubepi_metadata.tables[table].columns:
            wrong[table, column in _THREAD_IDS].append(column)
    faults = [
        _collation_fault(uow, table, columns, {collations[table, column] for column in columns})
        for (table, _), columns in wrong.items()
    ]
    if collations:
        message = f"All identifiers are compared byte by byte ({_COLLATION})."
        yield from faults or [Finding("collation", "ok", message)]


def _collation_fault(
    uow: UnitOfWork, table: str, columns: Sequence[str], found: set[str | None]
) -> Finding:
    of_threads = columns[0] in _THREAD_IDS
    what = "two threads" if of_threads else "two runs or questions"
    message = (
        f"{table}.{', '.join(columns)}: the collation is {', '.join(sorted(map(str, found)))}, "
        f"not {_COLLATION}; {what} whose ids it takes for equal, such as R1 and r1, are one."
    )
    if not of_threads:
        message += " (The framework's own migrations leave it so.)"
    return Finding(
        "collation",
        "error" if of_threads else "warning",
        message,
        uow.catalogue.collation_statement(MESSAGES, table, columns),
    )


def _index(uow: UnitOfWork) -> Iterator[Finding]:
    table = Thread.__tablename__
    if table not in uow.catalogue.tables(MESSAGES):
        return
    if _RECENT in uow.catalogue.indexes(table):
        yield Finding("index", "ok", f"{_RECENT} is there.")
    else:
        yield Finding(
            "index",
            "warning",
            f"{_RECENT} is missing: listing recent threads reads the whole of {table}.",
            uow.catalogue.index_statement(MESSAGES, table, _RECENT),
        )
