"""Creates, upgrades and drops the schema by threadlog's own Alembic revisions.

For databases whose migrations are not the host's. Alembic is imported when a function is
called; it keeps its context in globals, so run one migration at a time in a process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sqlalchemy import URL, Connection
from sqlalchemy.orm import Session

from threadlog.backends import Backend, PoolSize, backend_of, parse_url
from threadlog.engines import open_engine
from threadlog.errors import CubepiSchemaError, CubepiSchemaUninitialized, MissingExtraError
from threadlog.models import MESSAGES
from threadlog.repositories import JoinedUnitOfWork, UnitOfWork
from threadlog.repositories.unit_of_work import WRITES
from threadlog.schema import verify_schema
from threadlog.store import translated

if TYPE_CHECKING:
    from alembic.config import Config

# By name: this layer imports nothing of the migrations.
_MIGRATIONS: Final = "threadlog.migrations"

Outcome: TypeAlias = Literal["created", "completed", "there already", "host's"]
"""What an upgrade did: created all tables; created what was missing; found nothing missing;
or found nothing missing in a database that the host's own Alembic migrates."""


async def upgrade(url: str | URL, revision: str = "head") -> Outcome:
    """Bring a database's schema to a revision; run again after a failure, it completes.

    Creates the schema in a database that has none, and adopts one of the same version that
    the agent framework's migrations or an SQLite file's first use created. Also makes again
    what was dropped since: a table is empty then. A complete schema beside the host's
    ``alembic_version`` is left to the host. Several processes may upgrade at once.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, or ``head`` for the newest.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: Alembic or the database's driver is not installed.
        UnsupportedServerError: the server is of the wrong kind or too old.
        CubepiSchemaMismatch: the database holds another version, or tables without one;
            nothing was changed.
        CubepiSchemaError: the revision is unknown to this release, or did not do its work.
        CheckpointerLockTimeoutError: another migration of the database ran for too long.
        StorageError: the database refused or failed.
    """
    outcome: Outcome = (await _run(url, "upgrade", revision))["outcome"]
    return outcome


async def downgrade(url: str | URL, revision: str = "base") -> None:
    """Take a database's schema back to a revision; ``base`` drops the tables and their data.

    A database that `upgrade` never completed on is left as it is.

    Raises:
        ThreadlogError: as `upgrade`.
    """
    await _run(url, "downgrade", revision)


def upgrade_sql(url: str | URL) -> str:
    """Write the SQL that `upgrade` runs on an empty database, without connecting to it.

    Unlike `upgrade` the text cannot look at the database first: it neither refuses nor
    adopts what is there.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: Alembic is not installed.
    """
    parsed = parse_url(url)
    backend_of(parsed)
    text = StringIO()
    config = _config(text)
    from alembic import command  # noqa: PLC0415 - Alembic is optional

    config.attributes["url"] = parsed
    command.upgrade(config, "head", sql=True)
    return text.getvalue()


async def _run(
    url: str | URL, name: Literal["upgrade", "downgrade"], revision: str
) -> dict[str, Any]:
    """Run a command of Alembic in one transaction, as far as the database has them for DDL.

    Gives the attributes that it leaves.
    """
    config = _config(StringIO())
    from alembic import command  # noqa: PLC0415 - Alembic is optional

    parsed = parse_url(url)
    backend = backend_of(parsed)
    engine = open_engine(backend, parsed, PoolSize(1, 1))

    def run(connection: Connection) -> None:
        with backend.migration_lock(connection), connection.begin(), Session(connection) as session:
            uow = JoinedUnitOfWork(session)
            backend.verify_server(uow)
            config.attributes.update(connection=connection, command=name)
            getattr(command, name)(config, revision)
            if name == "upgrade":
                _verify(uow)

    try:
        with _in_our_words(backend):
            async with engine.execution_options(**{WRITES: True}).connect() as connection:
                await connection.run_sync(run)
    finally:
        await engine.dispose()
    return config.attributes


def _verify(uow: UnitOfWork) -> None:
    """Refuse to call it success where the database would not open, or lacks a table.

    Raises:
        CubepiSchemaError: that is so.
    """
    verify_schema(uow, MESSAGES)
    if missing := MESSAGES.tables - uow.catalogue.tables(MESSAGES):
        raise CubepiSchemaUninitialized(
            f"The migration ended, but the database lacks {', '.join(sorted(missing))}. If "
            "nothing else drops tables there, report this."
        )


@contextmanager
def _in_our_words(backend: Backend) -> Iterator[None]:
    """Raise the errors of Alembic and of the database as threadlog's."""
    from alembic.util import CommandError  # noqa: PLC0415 - Alembic is optional

    try:
        with translated(backend):
            yield
    except CommandError as error:
        raise CubepiSchemaError(
            f"Alembic cannot go there: {error}. If another release of threadlog migrated the "
            "database, use that one."
        ) from error


def _config(output: StringIO) -> "Config":
    """Configure Alembic, without a file, for the folder of the migrations.

    Raises:
        MissingExtraError: Alembic is not installed.
    """
    try:
        from alembic.config import Config  # noqa: PLC0415 - Alembic is optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("alembic", "migrations") from error
    config = Config(stdout=output, output_buffer=output)
    config.set_main_option("script_location", str(files(_MIGRATIONS)).replace("%", "%%"))
    return config
