"""A connection that is lost during COMMIT: nothing is stored twice, and nothing is lost."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.encryption.keys import Keys
from tests.encryption.test_storing import said
from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of
from threadlog import Checkpointer


@pytest.fixture
async def other(server_url: str) -> AsyncIterator[AsyncConnection]:
    """Yield another application's connection to the database."""
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("count", [1, 20])
async def test_an_append_is_stored_once(
    server_url: str, keys: Keys, other: AsyncConnection, count: int, *, arrives: bool
) -> None:
    """Each attempt has another nonce, and this time another key: the bytes differ."""
    messages = [said(id=str(number)) for number in range(count)]
    async with Checkpointer(server_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said()])
        (engine, *_) = engines_of(checkpointer)

        def rotate() -> None:
            keys.generation += 1

        with lost_commits(engine, other, arrives=arrives, then=rotate) as killed:
            seqs = await checkpointer.append("t", messages)
        assert len(killed) == 1
        assert seqs == list(range(2, 2 + count))
        data = await checkpointer.load("t")
        assert data is not None
        assert data.messages == [said(), *messages]


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_rotation_is_repeated(
    server_url: str, keys: Keys, other: AsyncConnection, *, arrives: bool
) -> None:
    async with Checkpointer(server_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said(str(number)) for number in range(5)])
        keys.generation = 2
        (engine, *_) = engines_of(checkpointer)
        with lost_commits(engine, other, arrives=arrives):
            await checkpointer.reencrypt("t")
        assert await checkpointer.reencrypt("t") == 0
        del keys.by_id["nobody-1"]
        data = await checkpointer.load("t")
        assert data is not None
        assert data.messages == [said(str(number)) for number in range(5)]


async def test_the_statements_of_an_append(server_url: str, keys: Keys) -> None:
    """One more than without encryption on MySQL: the lock and the INSERT are apart."""
    async with Checkpointer(server_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said()], owner="ann")
        (engine, *_) = engines_of(checkpointer)
        sent: list[str] = []

        def note(*args: object) -> None:
            sent.append(str(args[2]).split()[0])

        event.listen(engine, "before_cursor_execute", note)
        await checkpointer.append("t", [said()])
        selects = ["SELECT", "SELECT"] if "postgresql" in server_url else ["SELECT"]
        assert [each for each in sent if each != "UPDATE"] == [*selects, "INSERT"]
