"""Defaults of a server that change what statements mean: own sessions do not depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.databases import engines_of, execute
from tests.support.factories import UserFactory
from tests.support.ways import host_engine
from threadlog import Checkpointer, SyncCheckpointer, migrating
from threadlog.errors import ConfigurationError
from threadlog.langgraph import Saver
from threadlog.schema.check import check_database

INNODB_DEFAULTS: Final = {
    "autocommit": 0,
    "completion_type": 1,
    "foreign_key_checks": 0,
    "unique_checks": 0,
    "sql_safe_updates": 1,
    "sql_auto_is_null": 1,
    "sql_select_limit": 2,
    "max_sort_length": 64,
    "sql_mode": "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE'",
    "time_zone": "'+05:30'",
}
POSTGRES_DEFAULTS: Final = {
    "TimeZone": "'Europe/Berlin'",
    "DateStyle": "'SQL, DMY'",
    "client_encoding": "'LATIN1'",
    "bytea_output": "'escape'",
    "extra_float_digits": "0",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "default_transaction_isolation": "'serializable'",
}


@contextmanager
def defaults(url: str, values: dict[str, Any]) -> Iterator[None]:
    """Set a server's, or on PostgreSQL a database's, defaults in the block."""
    plain = make_url(url)
    if plain.get_backend_name() == "postgresql":
        # The database's own settings go with it.
        name = plain.database
        _run(plain, *(f"ALTER DATABASE {name} SET {key} = {values[key]}" for key in values))
        try:
            yield
        finally:
            _run(plain, f"ALTER DATABASE {name} RESET ALL")
        return
    known = ", ".join(f"@@GLOBAL.{name}" for name in values)
    with _engine(plain).connect() as connection:
        before = dict(zip(values, connection.execute(text(f"SELECT {known}")).one(), strict=True))
    _run(plain, *(f"SET GLOBAL {name} = {value}" for name, value in values.items()))
    try:
        yield
    finally:
        _run(plain, *(f"SET GLOBAL {name} = {value!r}" for name, value in before.items()))


def _engine(url: URL) -> Any:
    driver = {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
    name = driver.get(url.get_backend_name(), "postgresql+psycopg")
    return create_engine(url.set(drivername=name), isolation_level="AUTOCOMMIT")


def _run(url: URL, *statements: str) -> None:
    engine = _engine(url)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def defaults_of(name: str) -> dict[str, Any]:
    """Return the defaults that change answers on a server."""
    return POSTGRES_DEFAULTS if name == "postgres" else INNODB_DEFAULTS


async def test_a_reader_sees_later_appends_whatever_the_servers_defaults(
    server_name: str, server_url: str
) -> None:
    said = UserFactory.build_batch(4, run_id=None)
    with defaults(server_url, defaults_of(server_name)):
        async with Checkpointer(server_url) as log:
            assert await log.load("t") is None
            await log.append("t", [UserFactory(metadata={"text": "'\\\"%ü💬", "empty": ""})])
            for message in said:
                await log.append("t", [message])
            assert [stored.message for stored in await log.read("t")][1:] == said
            names = ["u", *(f"{'x' * 100}{place}" for place in range(5))]
            for name in names:
                await log.append(name, said[:1])
            found = [thread.thread_id for thread in await log.list_threads()]
            assert found == sorted(["t", *names])
            page = await log.list_threads(order="recent", limit=3)
            while more := await log.list_threads(order="recent", limit=3, after=page[-1]):
                page = [*page, *more]
            assert sorted(thread.thread_id for thread in page) == found
            stored = (await log.read("t"))[0].message
            assert stored.metadata == {"text": "'\\\"%ü💬", "empty": ""}


def test_a_synchronous_reader_sees_later_appends_whatever_the_servers_defaults(
    server_name: str, server_url: str
) -> None:
    said = UserFactory.build_batch(4, run_id=None)
    with defaults(server_url, defaults_of(server_name)), SyncCheckpointer(server_url) as log:
        assert log.load("t") is None
        for message in said:
            log.append("t", [message])
        assert [stored.message for stored in log.read("t")] == said


async def test_own_sessions_set_what_they_rely_on(innodb_url: str) -> None:
    query = ", ".join(f"@@SESSION.{name}" for name in INNODB_DEFAULTS)

    def settings(connection: Connection) -> tuple[Any, ...]:
        return tuple(connection.execute(text(f"SELECT @@character_set_client, {query}")).one())

    found: list[set[tuple[Any, ...]]] = []
    for values in ({"autocommit": 1}, INNODB_DEFAULTS):
        with defaults(innodb_url, values):
            async with Checkpointer(innodb_url) as log:
                rows = set()
                for engine in engines_of(log):
                    async with AsyncEngine(engine).connect() as connection:
                        rows.add(await connection.run_sync(settings))
                found.append(rows)
    assert found[0] == found[1]
    assert {row[0] for row in found[0]} == {"utf8mb4"}
    assert {row[1] for row in found[0]} == {0, 1}  # a pool that writes, and one that only reads


@pytest.mark.parametrize(
    ("setting", "match"),
    [("sql_select_limit = 1000", "sql_select_limit"), ("sql_mode = 'ANSI'", "strict mode")],
)
async def test_an_engine_whose_settings_change_answers_is_refused(
    innodb_url: str, setting: str, match: str
) -> None:
    engine = host_engine(innodb_url, connect_args={"init_command": f"SET {setting}"})
    with pytest.raises(ConfigurationError, match=match):
        await Checkpointer(engine=engine).__aenter__()
    await engine.dispose()


async def test_an_engine_that_stores_empty_texts_as_null_is_refused(mariadb_url: str) -> None:
    mode = "SET sql_mode = 'STRICT_TRANS_TABLES,EMPTY_STRING_IS_NULL'"
    engine = host_engine(mariadb_url, connect_args={"init_command": mode})
    with pytest.raises(ConfigurationError, match="EMPTY_STRING_IS_NULL"):
        await Checkpointer(engine=engine).__aenter__()
    await engine.dispose()


@pytest.mark.parametrize(
    "setting", ["sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'", "sql_quote_show_create = 0"]
)
async def test_an_engine_whose_listener_changes_quotes_opens(innodb_url: str, setting: str) -> None:
    """SQLAlchemy has decided by then how it reads SHOW CREATE TABLE."""
    engine = host_engine(innodb_url)

    def change(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET {setting}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", change)
    async with Checkpointer(engine=engine) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        assert len(await checkpointer.read("t")) == 1
        await checkpointer.claim_run("t", "r")
    await engine.dispose()


async def test_migrate_and_check_work_whatever_the_servers_defaults(
    server_name: str, server_database: str
) -> None:
    with defaults(server_database, defaults_of(server_name)):
        for _ in range(2):
            await migrating.upgrade(server_database)
        async with Saver(server_database):
            pass
        found = await check_database(server_database)
        assert [each for each in found if each.status != "ok"] == []


async def test_check_accepts_tables_made_with_ansi_quotes(innodb_url: str) -> None:
    mode = "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'"
    engine = host_engine(innodb_url, connect_args={"init_command": mode})
    async with engine.begin() as connection:
        for table in ("cubepi_messages", "cubepi_runs"):
            clause = 'PARTITION BY KEY ("thread_id") PARTITIONS 64'
            await connection.exec_driver_sql(f"ALTER TABLE {table} {clause}")
    await engine.dispose()
    with defaults(innodb_url, {"sql_mode": "'ANSI_QUOTES,STRICT_TRANS_TABLES'"}):
        found = await check_database(innodb_url, part="messages")
    assert [each for each in found if each.status != "ok"] == []
    await execute(innodb_url, "ALTER TABLE cubepi_runs PARTITION BY KEY () PARTITIONS 64")
    found = await check_database(innodb_url, part="messages")
    assert [each.check for each in found if each.status != "ok"] == ["partitions"]
