"""A connection that is lost during COMMIT: messages and their rows of the index are stored once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.search.helpers import answer, assert_complete, question
from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of, on_connection
from threadlog import Checkpointer
from threadlog.models import CONTROL, SEARCH


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer of a database with the search index."""
    for part in (CONTROL, SEARCH):
        await on_connection(server_url, part.metadata.create_all)
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", [question()])
        yield checkpointer


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("number", [1, 3, 40])
async def test_an_append_and_its_rows_are_stored_once(
    server_url: str,
    opened: Checkpointer,
    other: AsyncConnection,
    number: int,
    times: int,
    *,
    arrives: bool,
) -> None:
    """Whether or not the server has executed the COMMIT; in one statement and in several."""
    messages = [answer() for _ in range(number)]
    with lost_commits(engines_of(opened)[0], other, arrives=arrives, times=times) as killed:
        assert await opened.append("t", messages) == list(range(2, number + 2))
    assert len(killed) == (1 if arrives else times)
    await opened.append("t", [question()])
    assert len(await opened.read("t")) == number + 2
    await assert_complete(server_url, rows=1 + 2 * number + 1)


@pytest.mark.parametrize("arrives", [True, False])
async def test_appends_together_and_their_rows_are_stored_once(
    server_url: str, opened: Checkpointer, other: AsyncConnection, *, arrives: bool
) -> None:
    await asyncio.gather(*(opened.append(f"t{n}", [question()]) for n in range(16)))
    with lost_commits(engines_of(opened)[0], other, arrives=arrives, times=3) as killed:
        await asyncio.gather(*(opened.append(f"t{n}", [answer()]) for n in range(16)))
    assert killed
    assert [len(await opened.read(f"t{n}")) for n in range(16)] == [2] * 16
    await assert_complete(server_url, rows=1 + 16 + 16 * 2)
