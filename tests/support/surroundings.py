"""Odd surroundings in which tests can run: settings of a server, a loop, a process, a pooler.

THREADLOG_TEST_SURROUNDINGS names one of `SURROUNDINGS`. Sessions begin with the settings:
threadlog's own sessions replace them, those of an application's engine keep them. The other
surroundings are those of the ways that open a URL.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection, create_engine, make_url

from tests.support.servers.pgbouncer import pgbouncer_command
from tests.support.servers.supervisor import supervised
from tests.support.zones import add_zone

T = TypeVar("T")

VARIABLE: Final = "THREADLOG_TEST_SURROUNDINGS"

CHOSEN: Final = os.environ.get(VARIABLE, "")
"""The name of the surroundings; empty for a server's usual defaults."""

_SETTINGS: Final = {
    "berlin-spring": {"time_zone": "'{zone}'"},
    "berlin-autumn": {"time_zone": "'{zone}'"},
    "ansi-quotes": {"sql_mode": "CONCAT(@@GLOBAL.sql_mode, ',ANSI_QUOTES')"},
    "autocommit-off": {"autocommit": "0"},
    "safe-updates": {"sql_safe_updates": "1"},
}

SURROUNDINGS: Final = (*_SETTINGS, "second-loop", "forked-child", "pgbouncer")
"""The names. Those of Berlin are its time zone, two minutes after the clock was changed."""

_poolers: Final[list[str]] = []

_BEFORE: Final = {"berlin-spring": 0, "berlin-autumn": 1}
_POSTGRES_ZONE: Final = "'Europe/Berlin'"


@contextmanager
def surrounded(server_url: str) -> Iterator[None]:
    """Change a server's defaults in the block, or put a pooler before it."""
    postgres = server_url.startswith("postgresql")
    if postgres and CHOSEN == "pgbouncer":
        settings = {"pool_mode": "transaction", "server_round_robin": "1"}
        command = pgbouncer_command()
        with supervised("pgbouncer", command=command, server=server_url, settings=settings) as led:
            _poolers.append(led["url"])
            yield
        return
    if CHOSEN not in _SETTINGS or (postgres and CHOSEN not in _BEFORE):
        yield
        return
    url = make_url(server_url)
    driver, home = ("postgresql+psycopg", "postgres") if postgres else ("mysql+pymysql", None)
    engine = create_engine(url.set(drivername=driver, database=home), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        before = {} if postgres else _set(connection)
        if postgres:
            _alter_system(connection, f"SET TimeZone = {_POSTGRES_ZONE}")
        try:
            yield
        finally:
            if postgres:
                _alter_system(connection, "RESET TimeZone")
            for name, value in before.items():
                connection.exec_driver_sql(f"SET GLOBAL {name} = %s", (value,))
    engine.dispose()


def product_url(url: str) -> str:
    """Return the URL by which the product reaches a database: perhaps that of a pooler."""
    if not _poolers or not url.startswith("postgresql"):
        return url
    pooled = make_url(_poolers[0]).set(database=make_url(url).database)
    return pooled.render_as_string(hide_password=False)


def sync_product_url(url: str) -> str:
    """Return the same for a synchronous driver, without TLS on MySQL and MariaDB.

    For each connection PyMySQL would load all certificates of the machine, which takes longer than
    most tests. Those of TLS are in tests/databases/test_tls.py.
    """
    if not url.startswith(("mysql", "mariadb")):
        return product_url(url)
    plain = make_url(url).update_query_dict({"ssl_mode": "DISABLED"})
    return plain.render_as_string(hide_password=False)


@asynccontextmanager
async def entered(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter a context manager: in this event loop, or in that of another thread."""
    if CHOSEN != "second-loop":
        async with manager as value:
            yield value
        return
    home = asyncio.new_event_loop()
    thread = threading.Thread(target=home.run_forever)
    thread.start()
    try:
        opening = asyncio.run_coroutine_threadsafe(manager.__aenter__(), home)
        value = await asyncio.wrap_future(opening)
        try:
            yield value
        finally:
            closing = asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), home)
            await asyncio.wrap_future(closing)
    finally:
        home.call_soon_threadsafe(home.stop)
        thread.join()
        home.close()


def allow_any_update(connection: Connection) -> None:
    """Allow a connection of the tests themselves to change rows without naming a key."""
    if CHOSEN == "safe-updates" and connection.dialect.name in {"mysql", "mariadb"}:
        connection.exec_driver_sql("SET sql_safe_updates = 0")


def _set(connection: Connection) -> Mapping[str, object]:
    """Change the defaults of MySQL or MariaDB; return the former ones."""
    connection.exec_driver_sql("SET autocommit = 1")
    zone = ""
    if CHOSEN in _BEFORE:
        changed = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2)
        zone = f"Test/{CHOSEN}-{changed.timestamp():.0f}"
        before = _BEFORE[CHOSEN]
        add_zone(connection, zone, [(changed - timedelta(days=90), before), (changed, 1 - before)])
    former = {}
    for name, value in _SETTINGS[CHOSEN].items():
        former[name] = connection.exec_driver_sql(f"SELECT @@GLOBAL.{name}").scalar()
        connection.exec_driver_sql(f"SET GLOBAL {name} = {value.format(zone=zone)}")
    return former


def _alter_system(connection: Connection, change: str) -> None:
    connection.exec_driver_sql(f"ALTER SYSTEM {change}")
    connection.exec_driver_sql("SELECT pg_reload_conf()")
