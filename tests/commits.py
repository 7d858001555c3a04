"""Connections that are lost during COMMIT, before or after the server has done it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, TextClause, event, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

# How a connection is named, and how another ends it.
_WHO: Final = {"postgresql": "SELECT pg_backend_pid()"}
_KILL: Final = {"postgresql": "SELECT pg_terminate_backend({}, 10000)"}


def connection_id(connection: Connection) -> int:
    """Name a connection as `kill_statement` takes it."""
    query = _WHO.get(connection.dialect.name, "SELECT CONNECTION_ID()")
    return int(connection.exec_driver_sql(query).scalar_one())


def kill_statement(connection: Connection, number: int) -> TextClause:
    """Write the statement that ends a connection of the same server."""
    return text(_KILL.get(connection.dialect.name, "KILL {}").format(number))


def _nothing() -> None:
    """Do nothing."""


@contextmanager
def lost_commits(
    engine: Engine,
    other: AsyncConnection,
    *,
    arrives: bool,
    times: int = 1,
    then: Callable[[], Any] = _nothing,
) -> Iterator[list[int]]:
    """Kill the connection of the next COMMITs of an engine of asyncio.

    Args:
        engine: the engine.
        other: a connection that kills.
        arrives: whether the server has done the COMMIT by then.
        times: how many to kill.
        then: runs after each, before the caller learns of it.

    Yields:
        The ids of the connections that were killed.
    """
    killed: list[int] = []
    left = times
    one_at_a_time = asyncio.Lock()  # of this event loop: each test has its own

    async def kill_on_other(statement: TextClause) -> None:
        async with one_at_a_time:
            await other.execute(statement)

    def kill(connection: Connection) -> None:
        nonlocal left
        if not left:
            return
        left -= 1  # before others commit, while this one waits
        number = connection_id(connection)
        killed.append(number)
        if arrives:
            connection.exec_driver_sql("COMMIT")
        await_only(kill_on_other(kill_statement(connection, number)))
        then()

    event.listen(engine, "commit", kill)
    try:
        yield killed
    finally:
        event.remove(engine, "commit", kill)
