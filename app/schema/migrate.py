"""Create, upgrade and drop the schema by threadlog's own Alembic revisions.

For databases that the application's own migrations do not manage. Each part of the schema has a
history of its own. Alembic is imported when a function is called. It keeps its context in
globals, so the migrations of one process run one after the other.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.resources import files
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, inspect
from sqlalchemy.orm import Session

from threadlog.databases.base import Backend, EngineUse, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ConfigurationError,
    CubepiSchemaError,
    CubepiSchemaUninitialized,
    MissingExtraError,
)
from threadlog.models import ALL_PARTS, PARTS, PartName, SchemaPart
from threadlog.models.dialects.names import schema_of
from threadlog.repositories import JoinedUnitOfWork, UnitOfWork
from threadlog.repositories.unit_of_work import WRITES_OPTION
from threadlog.runtime.client import sleep
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import translate_errors
from threadlog.schema.verify import verify_schema

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

# A name: app imports nothing from migrations.
_MIGRATIONS: Final = "threadlog.migrations.alembic"
_VERSIONS: Final[dict[PartName, str]] = {
    "messages": "versions",
    "graph": "graph_versions",
    "store": "store_versions",
    "control": "control_versions",
    "metadata": "metadata_versions",
    "search": "search_versions",
}

# Held while Alembic runs. The limit is long: another migration of this process may itself wait
# two minutes for one of another process.
_ALEMBIC_LOCK: Final = Lock()
_LOCK_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 0.02


class Outcome(StrEnum):
    """The outcome of an upgrade of a part."""

    CREATED = "created"
    """All tables were created."""

    COMPLETED = "completed"
    """Missing tables, columns, indexes or rows were created."""

    UNCHANGED = "unchanged"
    """Nothing was missing."""

    EXTERNAL = "external"
    """Nothing was missing, and the application's own Alembic history manages the part."""

    SKIPPED = "skipped"
    """Nothing was created: the caller did not name the part, and the database has an Alembic
    history of the application's."""

    __repr__ = str.__repr__  # what `upgrade` returns is printed as strings


Report: TypeAlias = Callable[[PartName, Outcome], None]


async def upgrade(
    url: str | URL,
    revision: str = "head",
    *,
    part: PartName | None = None,
    report: Report | None = None,
) -> dict[PartName, Outcome]:
    """Upgrade a database's schema to a revision; a second run after a failure completes it.

    Creates the schema in a database without one, and adopts one of the same version that the
    agent framework's migrations or the first use of an SQLite file created. Also creates again
    what was dropped since; such a table is empty. Several processes may upgrade at once.

    If the database has the application's ``alembic_version``, a part that is complete is not
    changed, and a part that has no table is created only if it is named.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, which needs `part` too, or ``head`` for the newest.
        part: the name of a part, such as ``graph``; None for all, except that ``search`` is only
            completed if the database has it.
        report: called with a part and its outcome when the part is done.

    Returns:
        The outcome of each part.

    Raises:
        ConfigurationError: the URL cannot be used, or a revision was given without its part.
        MissingExtraError: Alembic or the database's driver is not installed.
        UnsupportedServerError: the server is of the wrong kind or too old.
        CubepiSchemaMismatch: the database has another version, or tables without a version;
            nothing of that part was changed.
        CubepiSchemaUninitialized: ``control`` or ``search`` was named, and the database lacks
            the messages, to which they refer; nothing was changed.
        CubepiSchemaError: the revision is unknown to this release, or left the schema incomplete.
        CheckpointerLockTimeoutError: another migration of the database ran for too long.
        StorageError: the database refused or failed.
    """
    parts = _parts(part, revision, common="head")

    def work(connection: Connection, backend: Backend) -> dict[PartName, Outcome]:
        outcomes: dict[PartName, Outcome] = {}
        for one in parts:
            if one.name != part and one not in PARTS and not _has_tables(connection, one):
                continue
            config = _config(one, "upgrade", chosen=part is not None)
            _run(connection, backend, config, revision, sleep)
            outcome = outcomes[one.name] = Outcome(config.attributes["outcome"])
            if report is not None:
                report(one.name, outcome)
        return outcomes

    return await _on_connection(url, work)


async def downgrade(
    url: str | URL, revision: str = "base", *, part: PartName | None = None
) -> None:
    """Downgrade a database's schema to a revision; ``base`` drops the tables and their data.

    A part on which `upgrade` was never completed is not changed.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, which needs `part` too, or ``base`` for no schema.
        part: the name of a part, such as ``graph``; None for all, the last first.

    Raises:
        CubepiSchemaError: thread control or the search index refers to the messages, and was
            not dropped before; nothing was changed.
        ThreadlogError: otherwise as `upgrade`.
    """
    parts = _parts(part, revision, common="base")

    def work(connection: Connection, backend: Backend) -> None:
        for one in reversed(parts):  # the last ones refer to the messages
            _run(connection, backend, _config(one, "downgrade"), revision, sleep)

    await _on_connection(url, work)


def upgrade_on(
    connection: Connection,
    backend: Backend,
    part: SchemaPart,
    sleep: Callable[[float], object],
) -> Outcome:
    """Upgrade a part of the schema to its newest version, as `upgrade` does.

    Args:
        connection: a connection without a transaction; it has none afterwards either.
        backend: the backend of its database.
        part: the part.
        sleep: waits the given seconds, while another migration of this process runs.

    Raises:
        ThreadlogError: as `upgrade`.
    """
    config = _config(part, "upgrade")
    with _translate_errors(backend):
        _run(connection, backend, config, "head", sleep)
    return Outcome(config.attributes["outcome"])


def upgrade_sql(url: str | URL, *, part: PartName | None = None) -> str:
    """Return the SQL that `upgrade` runs on an empty database, without connecting to it.

    Unlike `upgrade` the SQL cannot check the database first: it neither refuses nor adopts
    existing tables.

    Args:
        url: the database, as for `Checkpointer`.
        part: the name of a part, such as ``graph``; None for all but ``search``.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: Alembic is not installed.
    """
    parsed = parse_url(url)
    backend_of(parsed)
    text = StringIO()
    for one in _parts(part, "head", common="head"):
        if one.name != part and one not in PARTS:
            continue
        config = _config(one, "upgrade", text)
        from alembic import command  # noqa: PLC0415 - Alembic is optional

        config.attributes["url"] = parsed
        with _alembic_lock(time.sleep):
            command.upgrade(config, "head", sql=True)
    return text.getvalue()


def _parts(name: PartName | None, revision: str, *, common: str) -> list[SchemaPart]:
    """Return the part of a name, or all.

    Args:
        name: the name, or None for all.
        revision: the revision to migrate to.
        common: the revision that every part has.

    Raises:
        ConfigurationError: there is no part of that name, or not all have the revision.
    """
    if name is None and revision != common:
        raise ConfigurationError(
            f"The revision {revision!r} belongs to one part of the schema. Name the part, such as "
            "part='messages'."
        )
    parts = [part for part in ALL_PARTS if name in {None, part.name}]
    if not parts:
        known = ", ".join(repr(part.name) for part in ALL_PARTS)
        raise ConfigurationError(f"The part must be one of {known}, not {name!r}.")
    return parts


def _has_tables(connection: Connection, part: SchemaPart) -> bool:
    """Return True if a table of a part exists; the connection has no transaction afterwards."""
    with connection.begin():
        names = inspect(connection).get_table_names(schema_of(connection))
        return not part.tables.isdisjoint(names)


async def _on_connection(url: str | URL, work: Callable[[Connection, Backend], T]) -> T:
    """Run synchronous work on a new connection.

    Raises:
        MissingExtraError: Alembic is not installed; raised before connecting.
    """
    _config(PARTS[0], "upgrade")
    parsed = parse_url(url)
    backend = backend_of(parsed)
    engine = open_engine(backend, parsed, PoolSize(1, 1), EngineUse(statement_timeout=False))
    try:
        with _translate_errors(backend):
            async with engine.execution_options(**{WRITES_OPTION: True}).connect() as connection:
                return await connection.run_sync(work, backend)
    finally:
        await engine.dispose()


def _run(
    connection: Connection,
    backend: Backend,
    config: "Config",
    revision: str,
    sleep: Callable[[float], object],
) -> None:
    """Run a command of Alembic in one transaction, as far as the database supports it for DDL."""
    from alembic import command  # noqa: PLC0415 - Alembic is optional

    attributes = config.attributes
    with (
        _alembic_lock(sleep),
        backend.migration_lock(connection),
        connection.begin(),
        Session(connection) as session,
    ):
        backend.begin_migration(connection)
        with JoinedUnitOfWork(session) as uow:
            backend.verify_server(uow)
        attributes["connection"] = connection
        getattr(command, attributes["command"])(config, revision)
        if attributes["command"] == "upgrade" and attributes.get("outcome") != Outcome.SKIPPED:
            with JoinedUnitOfWork(session) as uow:
                _verify(uow, attributes["part"])


@contextmanager
def _alembic_lock(sleep: Callable[[float], object]) -> Iterator[None]:
    """Keep other migrations of this process out of the block, those of threads and of tasks.

    Acquiring never blocks: the holder may be a task of the same event loop.

    Raises:
        CheckpointerLockTimeoutError: another migration ran for too long.
    """
    end = time.monotonic() + _LOCK_SECONDS
    while not _ALEMBIC_LOCK.acquire(blocking=False):
        if time.monotonic() > end:
            raise CheckpointerLockTimeoutError(
                f"Another migration of this process has been running for {_LOCK_SECONDS:.0f} "
                "seconds or longer"
            )
        sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        _ALEMBIC_LOCK.release()


def _verify(uow: UnitOfWork, part: SchemaPart) -> None:
    """Check after a migration that the database can be opened and lacks no table.

    Raises:
        CubepiSchemaError: it cannot, or a table is missing.
    """
    verify_schema(uow, part)
    if missing := part.tables - uow.catalogue.tables(part):
        raise CubepiSchemaUninitialized(
            f"The migration ended, but the database lacks {', '.join(sorted(missing))}. Check "
            "whether another program drops tables there. If none does, report this as a bug of "
            "threadlog."
        )


@contextmanager
def _translate_errors(backend: Backend) -> Iterator[None]:
    """Raise the errors of Alembic and of the database as threadlog's."""
    from alembic.util import CommandError  # noqa: PLC0415 - Alembic is optional

    try:
        with translate_errors(backend):
            yield
    except CommandError as error:
        raise CubepiSchemaError(
            f"Alembic cannot migrate to the revision: {error}. If another release of threadlog "
            "migrated the database, use that release."
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
    # Without the option Alembic would split the folder at spaces. Before Alembic 1.16 the option
    # has the longer name, which later releases do not read if the other is set.
    for option in ("path_separator", "version_path_separator"):
        config.set_main_option(option, "os")
    config.attributes.update(part=part, command=command, chosen=chosen)
    return config
