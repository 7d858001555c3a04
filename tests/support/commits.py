"""Connections that are lost, also during COMMIT, before or after the server has done it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

NUMBER: Final = {
    "mysql": "SELECT CONNECTION_ID()",
    "mariadb": "SELECT CONNECTION_ID()",
    "postgresql": "SELECT pg_backend_pid()",
}
_KILL: Final = {
    "mysql": "KILL {}",
    "mariadb": "KILL {}",
    "postgresql": "SELECT pg_terminate_backend({})",
}
# PostgreSQL only tells the connection's process to end.
_LEFT: Final = {"postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {}"}


def number_of(connection: Connection) -> int:
    """Return the server's number of a connection."""
    number: int = connection.exec_driver_sql(NUMBER[connection.dialect.name]).scalar_one()
    return number


async def kill_connection(other: AsyncConnection, number: int) -> None:
    """Kill a connection from another one."""
    await other.execute(text(_KILL[other.dialect.name].format(number)))
    left = _LEFT.get(other.dialect.name)
    there = text(left.format(number)) if left else None
    while there is not None and (await other.execute(there)).scalar_one():  # noqa: ASYNC110 - nobody here learns of it
        await asyncio.sleep(0.01)


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

    async def kill_on_other(number: int) -> None:
        async with one_at_a_time:
            await kill_connection(other, number)

    def kill(connection: Connection) -> None:
        nonlocal left
        if not left:
            return
        left -= 1  # before others commit, while this one waits
        number = number_of(connection)
        killed.append(number)
        if arrives:
            connection.exec_driver_sql("COMMIT")
        await_only(kill_on_other(number))
        then()

    event.listen(engine, "commit", kill)
    try:
        yield killed
    finally:
        event.remove(engine, "commit", kill)
