"""An application's migrations on sessions and with options that change how Alembic reads."""

import logging
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from alembic import op
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, ForeignKey, Integer, MetaData, inspect
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import threadlog.migrations.plugin  # noqa: F401 - as a host's env.py does
from tests.support.databases import create_schema, on_connection
from tests.support.schemas import version_rows
from tests.support.ways import host_engine
from threadlog import migrating
from threadlog.migrations.plugin import NAME
from threadlog.models import PARTS, Thread, cubepi_metadata

PLUGINS = {"autogenerate_plugins": ["alembic.autogenerate.*", NAME]}
IMPORTS = {"sa": sqlalchemy, "mysql": mysql, "postgresql": postgresql, "sqlite": sqlite}


class Base(DeclarativeBase):
    """An application's tables."""


class Chat(Base):
    """A table whose foreign key has no type of its own."""

    __tablename__ = "host_chats"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    thread_id: Mapped[str] = mapped_column(ForeignKey(Thread.thread_id))


def upgrade(connection: Connection, metadata: Any, **rendering: Any) -> None:
    """Run the migration that autogenerate writes, with what Alembic's template imports."""
    context = MigrationContext.configure(connection)
    operations = produce_migrations(context, metadata).upgrade_ops
    assert operations is not None
    code = render_python_code(operations, **rendering)
    with Operations.context(context):
        exec(textwrap.dedent("    " + code), {"op": op, **IMPORTS})  # noqa: S102 - as Alembic does


async def on_session(url: str, setting: str, work: Callable[[Connection], Any]) -> Any:
    """Run work on an application's engine whose sessions begin with a setting."""
    engine = host_engine(url, connect_args={"init_command": f"SET {setting}"})
    async with engine.begin() as connection:
        found = await connection.run_sync(work)
    await engine.dispose()
    return found


def differences(connection: Connection) -> list[Any]:
    """Return what autogenerate with threadlog's plugin finds."""
    context = MigrationContext.configure(connection, opts=PLUGINS)
    return list(compare_metadata(context, cubepi_metadata))


ANSI_QUOTES = "sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'"


@pytest.mark.parametrize("setting", [ANSI_QUOTES, "sql_safe_updates = 1", "autocommit = 0"])
async def test_directive_on_an_odd_session_creates_what_has_no_difference(
    innodb_database: str, setting: str
) -> None:
    def create(connection: Connection) -> None:
        operations: Any = Operations(MigrationContext.configure(connection))
        for _ in range(2):
            operations.create_threadlog_schema(version=5)

    await on_session(innodb_database, setting, create)
    assert await version_rows(innodb_database) == [5]
    assert await on_session(innodb_database, setting, differences) == []


@pytest.mark.parametrize("setting", [ANSI_QUOTES, "sql_safe_updates = 1"])
async def test_autogenerate_on_an_odd_session_creates_what_has_no_difference(
    innodb_database: str, setting: str
) -> None:
    await on_session(innodb_database, setting, lambda c: upgrade(c, cubepi_metadata))
    assert await on_session(innodb_database, setting, differences) == []
    assert await on_connection(innodb_database, differences) == []


@pytest.mark.parametrize("rendering", ["in the context", "without it"])
async def test_foreign_key_without_a_type_generates_a_migration_that_runs(
    empty_url: str, rendering: str
) -> None:
    def work(connection: Connection) -> list[Any]:
        metadata: Any = [Base.metadata, cubepi_metadata]
        context = MigrationContext.configure(connection)
        options = {"migration_context": context} if rendering == "in the context" else {}
        upgrade(connection, metadata, **options)
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        (key,) = inspect(connection).get_foreign_keys("host_chats")
        return [*found, key["referred_table"]]

    assert await on_connection(empty_url, work) == ["cubepi_threads"]


async def test_foreign_key_added_later_without_a_type_generates_a_migration_that_runs(
    server_database: str,
) -> None:
    earlier = MetaData()
    sqlalchemy.Table("host_chats", earlier, sqlalchemy.Column("id", Integer, primary_key=True))

    def work(connection: Connection) -> list[Any]:
        create_schema(connection)
        earlier.create_all(connection)
        metadata: Any = [Base.metadata, cubepi_metadata]
        upgrade(connection, metadata)
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert await on_connection(server_database, work) == []


async def test_autogenerate_reads_no_partitions(
    postgres_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await migrating.upgrade(postgres_database)

    def work(connection: Connection) -> list[Any]:
        own = {part.revision_table for part in PARTS}
        options = {**PLUGINS, "include_name": lambda name, kind, parents: name not in own}
        context = MigrationContext.configure(connection, opts=options)
        every: Any = [part.metadata for part in PARTS]
        return list(compare_metadata(context, every))

    with caplog.at_level(logging.INFO, "alembic"):
        assert await on_connection(postgres_database, work) == []
    detected = [record.getMessage() for record in caplog.records]
    assert [text for text in detected if re.search(r"_p\d\d", text)] == []
