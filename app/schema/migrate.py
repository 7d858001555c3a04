"""Creates, upgrades and drops the schema by threadlog's own Alembic revisions.

For databases whose migrations are not the host's. Each part of the schema has a history of
its own. Alembic is imported when a function is called; it keeps its context in globals, so
the migrations of one process run one after the other.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from threadlog.databases.base import Backend, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    CubepiSchemaError,
    CubepiSchemaUninitialized,
    MissingExtraError,
)
from threadlog.models import PARTS, PartName, SchemaPart
from threadlog.repositories import JoinedUnitOfWork, UnitOfWork
from threadlog.repositories.unit_of_work import WRITES
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import translate_errors
from threadlog.schema.verify import verify_schema

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

# By name: this layer imports nothing of the migrations.
_MIGRATIONS: Final = "threadlog.migrations.alembic"
_VERSIONS: Final[dict[PartName, str]] = {"messages": "versions", "graph": "graph_versions"}

# Whose turn it is to use Alembic, and how long to wait for it: another migration may itself
# be waiting for one of another process, for two minutes.
_TURN: Final = Lock()
_TURN_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 0.02

Outcome: TypeAlias = Literal["created", "completed", "there already", "host's", "left out"]
"""What an upgrade did with a part: created all tables; created what was missing; found
nothing missing; found nothing missing in a database that the host's own Alembic migrates; or
made nothing, because nobody named the part and the tables of another one are the host's."""

Report: TypeAlias = Callable[[PartName, Outcome], None]


async def upgrade(
    url: str | URL,
    revision: str = "head",
    *,
    part: PartName | None = None,
    report: Report | None = None,
) -> dict[PartName, Outcome]:
    """Bring a database's schema to a revision; run again after a failure, it completes.

    Creates the schema in a database that has none, and adopts one of the same version that
    the agent framework's migrations or an SQLite file's first use created. Also makes again
    what was dropped since: a table is empty then. A complete schema beside the host's
    ``alembic_version`` is left to the host. Several processes may upgrade at once.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, which takes `part` too, or ``head`` for the newest.
        part: ``messages`` or ``graph``; both where it is left out, messages first.
        report: called when a part is done, with what is returned of it.

    Returns:
        What was done, for each part.

    Raises:
        ConfigurationError: the URL cannot be used, or the revision is one of no part.
        MissingExtraError: Alembic or the database's driver is not installed.
        UnsupportedServerError: the server is of the wrong kind or too old.
        CubepiSchemaMismatch: the database holds another version, or tables without one;
            nothing of that part was changed.
        CubepiSchemaError: the revision is unknown to this release, or did not do its work.
        CheckpointerLockTimeoutError: another migration of the database ran for too long.
        StorageError: the database refused or failed.
    """
    parts = _parts(part, revision, everywhere="head")

    def work(connection: Connection, backend: Backend) -> dict[PartName, Outcome]:
        outcomes: dict[PartName, Outcome] = {}
        for one in parts:
            config = _config(one, "upgrade", chosen=part is not None)
            outcome = outcomes[one.name] = _run(connection, backend, config, revision, _sleep)
            if report is not None:
                report(one.name, outcome)
        return outcomes

    return await _on_connection(url, work)


async def downgrade(
    url: str | URL, revision: str = "base", *, part: PartName | None = None
) -> None:
    """Take a database's schema back to a revision; ``base`` drops the tables and their data.

    A part that `upgrade` never completed on is left as it is.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, which takes `part` too, or ``base`` for none.
        part: ``messages`` or ``graph``; both where it is left out, messages first.

    Raises:
        ThreadlogError: as `upgrade`.
    """
    parts = _parts(part, revision, everywhere="base")

    def work(connection: Connection, backend: Backend) -> None:
        for one in parts:
            _run(connection, backend, _config(one, "downgrade"), revision, _sleep)

    await _on_connection(url, work)


def upgrade_on(
    connection: Connection,
    backend: Backend,
    part: SchemaPart,
    sleep: Callable[[float], None],
) -> Outcome:
    """Bring a part of the schema to its newest version, as `upgrade` does.

    Args:
        connection: what it runs on; no transaction is begun on it, and none is afterwards.
        backend: what knows its database.
        part: the part.
        sleep: waits so many seconds, while another migration of this process runs.

    Raises:
        ThreadlogError: as `upgrade`.
    """
    config = _config(part, "upgrade")
    with _in_our_words(backend):
        outcome: Outcome = _run(connection, backend, config, "head", sleep)
    return outcome


def upgrade_sql(url: str | URL, *, part: PartName | None = None) -> str:
    """Write the SQL that `upgrade` runs on an empty database, without connecting to it.

    Unlike `upgrade` the text cannot look at the database first: it neither refuses nor
    adopts what is there.

    Args:
        url: the database, as for `Checkpointer`.
        part: ``messages`` or ``graph``; both where it is left out, messages first.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: Alembic is not installed.
    """
    parsed = parse_url(url)
    backend_of(parsed)
    text = StringIO()
    for one in _parts(part, "head", everywhere="head"):
        config = _config(one, "upgrade", text)
        from alembic import command  # noqa: PLC0415 - Alembic is optional

        config.attributes["url"] = parsed
        with _turn(time.sleep):
            command.upgrade(config, "head", sql=True)
    return text.getvalue()


def _parts(name: PartName | None, revision: str, *, everywhere: str) -> list[SchemaPart]:
    """Give the part of a name, or all.

    Args:
        name: the name, or None for all.
        revision: the revision to go to.
        everywhere: the revision that every part has.

    Raises:
        ConfigurationError: there is no part of that name, or not all have the revision.
    """
    if name is None and revision != everywhere:
        raise ConfigurationError(
            f"The revision {revision!r} is one of a part: say which, such as part='messages'."
        )
    parts = [part for part in PARTS if name in {None, part.name}]
    if not parts:
        known = " or ".join(repr(part.name) for part in PARTS)
        raise ConfigurationError(f"The part must be {known}, not {name!r}.")
    return parts


async def _on_connection(url: str | URL, work: Callable[[Connection, Backend], T]) -> T:
    """Run synchronous work on a connection of its own.

    Raises:
        MissingExtraError: Alembic is not installed, which is said before anything is done.
    """
    _config(PARTS[0], "upgrade")
    parsed = parse_url(url)
    backend = backend_of(parsed)
    engine = open_engine(backend, parsed, PoolSize(1, 1), patient=True)
    try:
        with _in_our_words(backend):
            async with engine.execution_options(**{WRITES: True}).connect() as connection:
                return await connection.run_sync(work, backend)
    finally:
        await engine.dispose()


def _run(
    connection: Connection,
    backend: Backend,
    config: "Config",
    revision: str,
    sleep: Callable[[float], None],
) -> Any:
    """Run a command of Alembic in one transaction, as far as the database has them for DDL.

    Gives the outcome that it leaves.
    """
    from alembic import command  # noqa: PLC0415 - Alembic is optional

    attributes = config.attributes
    with (
        _turn(sleep),
        backend.migration_lock(connection),
        connection.begin(),
        Session(connection) as session,
    ):
        backend.begin_migration(connection)
        uow = JoinedUnitOfWork(session)
        backend.verify_server(uow)
        attributes["connection"] = connection
        getattr(command, attributes["command"])(config, revision)
        outcome = attributes.get("outcome")
        if attributes["command"] == "upgrade" and outcome != "left out":
            _verify(uow, attributes["part"])
    return outcome


def _sleep(seconds: float) -> None:
    """Wait in a greenlet of asyncio."""
    await_only(asyncio.sleep(seconds))


@contextmanager
def _turn(sleep: Callable[[float], None]) -> Iterator[None]:
    """Keep this process's other migrations out of the block, threads and tasks alike.

    The lock is never waited for itself: its holder may be a task of this very event loop.

    Raises:
        CheckpointerLockTimeoutError: another one ran for too long.
    """
    end = time.monotonic() + _TURN_SECONDS
    while not _TURN.acquire(blocking=False):
        if time.monotonic() > end:
            raise CheckpointerLockTimeoutError(
                f"Another migration of this process is running, for {_TURN_SECONDS:.0f} seconds "
                "at least"
            )
        sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        _TURN.release()


def _verify(uow: UnitOfWork, part: SchemaPart) -> None:
    """Refuse to call it success where the database would not open, or lacks a table.

    Raises:
        CubepiSchemaError: that is so.
    """
    verify_schema(uow, part)
    if missing := part.tables - uow.catalogue.tables(part):
        raise CubepiSchemaUninitialized(
            f"The migration ended, but the database lacks {', '.join(sorted(missing))}. If "
            "nothing else drops tables there, report this."
        )


@contextmanager
def _in_our_words(backend: Backend) -> Iterator[None]:
    """Raise the errors of Alembic and of the database as threadlog's."""
    from alembic.util import CommandError  # noqa: PLC0415 - Alembic is optional

    try:
        with translate_errors(backend):
            yield
    except CommandError as error:
        raise CubepiSchemaError(
            f"Alembic cannot go there: {error}. If another release of threadlog migrated the "
            "database, use that one."
        ) from error


def _config(
    part: SchemaPart,
    command: Literal["upgrade", "downgrade"],
    output: StringIO | None = None,
    *,
    chosen: bool = True,
) -> "Config":
    """Configure Alembic, without a file, for the history of a part; see `env.py` for the rest.

    Raises:
        MissingExtraError: Alembic is not installed.
    """
    try:
        from alembic.config import Config  # noqa: PLC0415 - Alembic is optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("alembic", "migrations") from error
    text = output or StringIO()
    config = Config(stdout=text, output_buffer=text)
    folder = str(files(_MIGRATIONS)).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("version_locations", f"{folder}{os.sep}{_VERSIONS[part.name]}")
    # Else the folder would be split at its spaces; before Alembic 1.16 the option has the
    # longer name, which is not looked for where the other is set.
    for option in ("path_separator", "version_path_separator"):
        config.set_main_option(option, "os")
    config.attributes.update(part=part, command=command, chosen=chosen)
    return config
