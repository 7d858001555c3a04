"""Tables in another schema than the default one: ``search_path`` and ``schema_translate_map``."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from langgraph.checkpoint.base import empty_checkpoint
from sqlalchemy import Connection, ExecutableDDLElement, MetaData, String, Table, inspect, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.schema import DropIndex, DropTable

from tests.databases.test_privileges import use_everything
from tests.support.databases import execute
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.errors import CubepiSchemaUninitialized
from threadlog.langgraph import Saver, Store
from threadlog.migrating import upgrade
from threadlog.migrations import directives  # noqa: F401 - makes op.create_threadlog_schema
from threadlog.models import GRAPH, MESSAGES, PARTS, SEARCH, STORE
from threadlog.models.tables import RUNS, THREADS
from threadlog.runtime.client import FactoryClient
from threadlog.runtime.transactions import OwnedRunner, TransactionRunner
from threadlog.schema.check import check_database
from threadlog.schema.migrate import Outcome, _has_tables, upgrade_on
from threadlog.testing import age_rows, create_all_async


@pytest.fixture
async def path_url(postgres_database: str) -> str:
    """Return the URL of an empty schema, by the search path of its sessions."""
    await execute(postgres_database, "CREATE SCHEMA ai")
    url = make_url(postgres_database).update_query_dict({"options": "-c search_path=ai"})
    return url.render_as_string(hide_password=False)


async def schemas_of(url: str) -> set[str]:
    """Return the schemas that have tables of threadlog's."""
    engine = host_engine(make_url(url).set(query={}).render_as_string(hide_password=False))
    query = (
        "SELECT schemaname FROM pg_tables WHERE tablename LIKE 'cubepi%' OR tablename LIKE "
        "'threadlog%' OR tablename LIKE 'app%'"
    )
    async with engine.connect() as connection:
        rows = (await connection.exec_driver_sql(query)).scalars().all()
    await engine.dispose()
    return set(rows)


async def test_migrations_and_everything_else_follow_the_search_path(path_url: str) -> None:
    await upgrade(path_url)
    assert await schemas_of(path_url) == {"ai"}
    assert {found.status for found in await check_database(path_url)} == {"ok"}
    async with Checkpointer(path_url) as checkpointer:
        await use_everything(checkpointer, "t")


async def test_setup_follows_the_search_path(path_url: str) -> None:
    async with Saver(path_url) as saver, Store(path_url) as store:
        await saver.setup()
        await store.setup()
        await store.aput(("a",), "k", {})
    assert await schemas_of(path_url) == {"ai"}


async def test_an_applications_engine_follows_its_search_path(postgres_database: str) -> None:
    await execute(postgres_database, "CREATE SCHEMA ai")
    settings = {"server_settings": {"search_path": "ai"}}
    engine = host_engine(postgres_database, connect_args=settings)
    await create_all_async(engine)
    assert await schemas_of(postgres_database) == {"ai"}
    async with Checkpointer(engine=engine) as checkpointer:
        await use_everything(checkpointer, "t")
    await engine.dispose()


# --- schema_translate_map ----------------------------------------------------------


@pytest.fixture
async def schema(server_name: str, server_database: str, server_url: str) -> str:
    """Return the name of an empty schema, on MySQL of a database, that is not the default one."""
    if server_name != "postgres":
        return str(make_url(server_database).database)
    await execute(server_url, """CREATE SCHEMA "Ai's" """)
    return "Ai's"


@pytest.fixture
async def translated(server_url: str, schema: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of a database that has the message log's tables, mapped to the schema."""
    options = {"execution_options": {"schema_translate_map": {None: schema}}}
    engine = host_engine(server_url, **options)
    before = await names_in(engine, None)
    yield engine
    assert await names_in(engine, None) == before
    await engine.dispose()


async def names_in(engine: AsyncEngine, schema: str | None) -> set[str]:
    """Return the names of the tables of a schema; None for the default one."""
    async with engine.connect() as connection:
        return await connection.run_sync(
            lambda sync: set(inspect(sync).get_table_names(schema=schema))
        )


async def test_tables_of_a_part_are_found_in_the_schema_of_the_map(
    translated: AsyncEngine, server_url: str
) -> None:
    await create_all_async(translated)
    async with translated.connect() as connection:
        assert await connection.run_sync(_has_tables, MESSAGES)
        assert not await connection.run_sync(_has_tables, SEARCH)


async def use_mapped(engine: AsyncEngine) -> None:
    """Call every verb of the message log, on the engine and in a session."""
    async with Checkpointer(engine=engine) as checkpointer, AsyncSession(engine) as session:
        await use_everything(checkpointer, "t")
        await use_everything(checkpointer.bind(session), "u")
        await session.commit()
        listed = [thread.thread_id for thread in await checkpointer.list_threads()]
    assert listed == ["t", "u"]


async def test_create_all_and_the_message_log_follow_a_translate_map(
    translated: AsyncEngine, schema: str
) -> None:
    with pytest.raises(CubepiSchemaUninitialized):
        await use_mapped(translated)
    await create_all_async(translated)
    assert {name for part in PARTS for name in part.tables} <= await names_in(translated, schema)
    await use_mapped(translated)
    async with translated.begin() as connection:
        await connection.run_sync(age_rows, timedelta(days=1))


def migrate(transactions: TransactionRunner) -> Outcome:
    """Upgrade the message log, as `create_tables` does; return what was done."""
    runner = cast("OwnedRunner", transactions)
    with runner.connect() as connection:
        return upgrade_on(connection, runner.backend, MESSAGES, runner.sleep)


async def test_migrations_complete_what_create_all_created_in_a_translated_schema(
    translated: AsyncEngine, schema: str
) -> None:
    """They read the columns, indexes, partitions and the version of the schema's own tables."""
    await create_all_async(translated)
    client = FactoryClient(partial(AsyncSession, translated), MESSAGES)
    await client.open()
    assert await client.write(migrate) == "unchanged"
    (recent,) = (each for each in THREADS.indexes if each.name == "ix_cubepi_threads_recent")
    losses: list[ExecutableDDLElement] = [DropTable(RUNS), DropIndex(recent)]
    if translated.dialect.name == "postgresql":
        losses.append(DropTable(Table("cubepi_messages_p07", MetaData())))
    for loss in losses:
        async with translated.begin() as connection:
            await connection.execute(loss)
        assert await client.write(migrate) == "completed"
    await client.close()
    assert "threadlog_alembic_version" in await names_in(translated, schema)
    await use_mapped(translated)


async def test_setup_follows_a_translate_map(translated: AsyncEngine, schema: str) -> None:
    async with Saver(engine=translated) as saver, Store(engine=translated) as store:
        await saver.setup()
        await store.setup()
        await store.aput(("a",), "k", {"n": 1})
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        await saver.aput(config, empty_checkpoint(), {}, {})
        assert await saver.aget_tuple(config) is not None
        await saver.setup()
    names = await names_in(translated, schema)
    assert {*GRAPH.tables, GRAPH.revision_table, *STORE.tables, STORE.revision_table} == names


async def test_an_application_s_history_follows_a_translate_map(
    translated: AsyncEngine, schema: str
) -> None:
    def up_and_down(connection: Connection) -> None:
        op: Any = Operations(MigrationContext.configure(connection))
        op.create_threadlog_schema(version=4)
        op.upgrade_threadlog_schema(from_version=4, to_version=5)
        op.add_threadlog_metadata_column("user_id", "$.user_id", String(64), index=True)
        op.drop_threadlog_metadata_column("user_id", index=True)

    async with translated.begin() as connection:
        await connection.run_sync(up_and_down)
    await use_mapped(translated)
    assert MESSAGES.tables <= await names_in(translated, schema)
