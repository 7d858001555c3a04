"""Tables in another schema than the default one: ``search_path`` and ``schema_translate_map``."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from tests.databases.test_privileges import use_everything
from tests.support.databases import ASYNCHRONOUS, execute
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.langgraph import Saver, Store
from threadlog.migrating import upgrade
from threadlog.schema.check import check_database
from threadlog.testing import create_all_async


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


@pytest.fixture
async def translated(server_url: str, server_database: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine whose map leads to tables elsewhere: in a schema, on MySQL a database."""
    schema = make_url(server_url).database
    url = server_database
    if server_url.startswith("postgresql"):
        schema, url = "ai", server_url
        await execute(server_url, "CREATE SCHEMA ai")
        for table in ("threads", "messages", "runs", "hitl_answers", "schema_version"):
            await execute(server_url, f"ALTER TABLE cubepi_{table} SET SCHEMA ai")
    drivername = ASYNCHRONOUS[make_url(url).get_backend_name()]
    engine = create_async_engine(
        make_url(url).set(drivername=drivername),
        execution_options={"schema_translate_map": {None: schema}},
    )
    yield engine
    await engine.dispose()


async def test_a_translate_map_of_an_applications_engine_is_followed(
    translated: AsyncEngine,
) -> None:
    async with Checkpointer(engine=translated) as checkpointer, AsyncSession(translated) as session:
        await use_everything(checkpointer, "t")
        await use_everything(checkpointer.bind(session), "u")
        await session.commit()
        listed = [thread.thread_id for thread in await checkpointer.list_threads()]
    assert listed == ["t", "u"]
