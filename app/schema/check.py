"""Check a database and report all of its faults, and how to repair them.

Opening a `threadlog.Checkpointer` stops at the first fault; a check reports all.
"""

from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy import URL
from sqlalchemy.util import greenlet_spawn

from threadlog.databases.base import Backend, EngineUse, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    CubepiSchemaError,
    StorageError,
    ThreadlogError,
    TooManyConnectionsError,
    UnsupportedServerError,
)
from threadlog.models import ALL_PARTS, MESSAGES, PartName, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.runtime.client import sleep
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import OwnedRunner, TransactionRunner
from threadlog.schema.checks import checks_of
from threadlog.schema.result import CheckResult

__all__ = ["CheckResult", "check_database"]


async def check_database(url: str | URL, *, part: PartName | None = None) -> list[CheckResult]:
    """Connect to a database and check everything that threadlog relies on.

    Nothing is created or changed. A server that cannot be reached is a result too.

    Args:
        url: the database, as for `Checkpointer`.
        part: the name of a part, such as ``graph``; None for those that have a table in the
            database, or for the messages if there is no table.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: the database's driver is not installed.
    """
    parsed = parse_url(url)
    backend = backend_of(parsed)
    if file := backend.missing_file(parsed):
        message = f"There is no file {file!r}. It is created, with its tables, on first use."
        return [CheckResult("connection", "error", message)]
    engine = open_engine(backend, parsed, PoolSize(0, 1), EngineUse())
    # Whether the server answers now is what is asked: no retries. Each check gets its own part.
    transactions = OwnedRunner(engine.sync_engine, backend, MESSAGES, sleep=sleep, retry_seconds=0)
    try:
        return await greenlet_spawn(_inspect, transactions, part)
    finally:
        await engine.dispose()


def _inspect(transactions: TransactionRunner, name: PartName | None) -> list[CheckResult]:
    backend = transactions.backend
    try:
        findings = transactions.read(_connection)
        parts = transactions.read(partial(_parts, name=name))
    except StorageError as error:
        return [CheckResult("connection", "error", _unreachable(error))]
    findings += _attempt(transactions, "server", partial(_server, backend=backend))
    for part in parts:
        for check, look in checks_of(part, backend):
            findings += _attempt(transactions, check, partial(look, part=part))
    return findings


def _parts(uow: UnitOfWork, name: PartName | None) -> list[SchemaPart]:
    """Return the parts to check."""
    if name is not None:
        return [part for part in ALL_PARTS if part.name == name]
    return [part for part in ALL_PARTS if uow.catalogue.tables(part)] or [MESSAGES]


def _attempt(
    transactions: TransactionRunner, name: str, check: Callable[[UnitOfWork], Iterable[CheckResult]]
) -> list[CheckResult]:
    """Run a check in its own transaction, so that the next can run if this one fails."""
    try:
        return transactions.read(lambda uow: list(check(uow)))
    except (StorageError, CubepiSchemaError, UnsupportedServerError) as error:
        return [CheckResult(name, "error", _error_text(error))]


def _connection(uow: UnitOfWork) -> list[CheckResult]:
    version = ".".join(map(str, uow.catalogue.server_version()[:3]))
    return [CheckResult("connection", "ok", f"The database answers; its version is {version}.")]


def _server(uow: UnitOfWork, backend: Backend) -> list[CheckResult]:
    name = backend.verify_server(uow)
    return [CheckResult("server", "ok", f"It is {name}, and new enough.")]


def _unreachable(error: StorageError) -> str:
    if not error.retryable or isinstance(error, TooManyConnectionsError):
        return _error_text(error)
    return f"{error.reason.rstrip('.')}. Check that the server runs, and host and port in the URL."


def _error_text(error: ThreadlogError) -> str:
    """Return an error's text, without the advice to read the cause, which a result lacks."""
    if type(error) is StorageError:
        return f"{error.reason.rstrip('.')}."
    return str(error)
