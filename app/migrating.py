"""Creates, upgrades and drops the schema by threadlog's own Alembic revisions.

For databases whose migrations are not the host's. Alembic is imported when a function is
called; it keeps its context in globals, so run one migration at a time in a process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import URL, Connection
from sqlalchemy.orm import Session

from threadlog.backends import Backend, PoolSize, backend_of, parse_url
from threadlog.engines import open_engine
from threadlog.errors import CubepiSchemaError, MissingExtraError
from threadlog.repositories import JoinedUnitOfWork
from threadlog.repositories.unit_of_work import WRITES
from threadlog.store import translated

if TYPE_CHECKING:
    from alembic.config import Config

# By name: this layer imports nothing of the migrations.
_MIGRATIONS: Final = "threadlog.migrations"


async def upgrade(url: str | URL, revision: str = "head") -> None:
    """Bring a database's schema to a revision; run again after a failure, it completes.

    Creates the schema in a database that has none, and adopts one of the same version that
    the host's migrations, the agent framework's or an SQLite file's first use created.

    Args:
        url: the database, as for `Checkpointer`.
        revision: a revision's id, or ``head`` for the newest.

    Raises:
        ConfigurationError: the URL cannot be used.
        MissingExtraError: Alembic or the database's driver is not installed.
        UnsupportedServerError: the server is of the wrong kind or too old.
        CubepiSchemaMismatch: the database holds another version, or tables without one;
            nothing was changed.
        CubepiSchemaError: the revision is unknown to this release.
        StorageError: the database refused or failed.
    """
    await _run(url, "upgrade", revision)


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


async def _run(url: str | URL, name: Literal["upgrade", "downgrade"], revision: str) -> None:
    """Run a command of Alembic in one transaction, as far as the database has them for DDL."""
    config = _config(StringIO())
    from alembic import command  # noqa: PLC0415 - Alembic is optional

    engine, backend = open_engine(parse_url(url), PoolSize(1, 1))

    def run(connection: Connection) -> None:
        with Session(connection) as session:
            backend.verify_server(JoinedUnitOfWork(session))
        config.attributes["connection"] = connection
        getattr(command, name)(config, revision)

    try:
        with _in_our_words(backend):
            async with engine.execution_options(**{WRITES: True}).begin() as connection:
                await connection.run_sync(run)
    finally:
        await engine.dispose()


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
