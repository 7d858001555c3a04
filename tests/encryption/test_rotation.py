"""Encrypting anew: idempotent, invisible to readers, and beside writers."""

import asyncio
import random
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncSession

from tests.encryption.keys import Keys, everything, stored
from tests.encryption.test_storing import (
    MARKER,
    assert_filled,
    assert_hidden,
    fill,
    said,
)
from tests.support.databases import execute, on_connection
from tests.support.ways import open_engine
from threadlog import Checkpointer
from threadlog.errors import (
    CheckpointCorruptionError,
    ConfigurationError,
    DecryptionError,
    PlainRowError,
)
from threadlog.importing import import_into, parse_conversation
from threadlog.log import reencryption
from threadlog.models import tables

WRITERS: Final = 4
EACH: Final = 25


async def rows(url: str) -> list[Any]:
    """Return all rows of threads and messages but for their encrypted values."""

    def read(connection: Connection) -> list[Any]:
        found: list[Any] = []
        for table in (tables.THREADS, tables.MESSAGES, tables.ANSWERS):
            hidden = {"payload", "extra", "pending_request", "answer"}
            columns = [column for column in table.columns if column.name not in hidden]
            found += map(tuple, connection.execute(select(*columns).order_by(*table.primary_key)))
        return found

    return await on_connection(url, read)


async def test_a_new_key_leaves_everything_as_it_is(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer, owner="ann")
        await fill(checkpointer, "other")
        before = await rows(database_url)
        keys.generation = 2
        await asyncio.sleep(1.1)  # times are to the second
        assert await checkpointer.reencrypt("t") == 6
        assert await checkpointer.reencrypt("t") == 0
        assert [each async for each in checkpointer.reencrypt_all()] == [("other", 6), ("t", 0)]
        assert await rows(database_url) == before
        assert await checkpointer.reencrypt("unknown") == 0
    for old in ("ann-1", "nobody-1"):
        del keys.by_id[old]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await assert_filled(checkpointer)
        await assert_filled(checkpointer, "other")


async def test_encryption_is_switched_on(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url) as plain:
        await fill(plain)
        await plain.append("t2", [said(metadata={"a": MARKER})], owner="ann")
    assert MARKER.encode() in await everything(database_url)
    async with Checkpointer(database_url, encryption=keys.encryption()) as strict:
        with pytest.raises(PlainRowError):
            await strict.reencrypt("t")
    moving = keys.encryption(allow_plain=True, metadata=True)
    async with Checkpointer(database_url, encryption=moving) as checkpointer:
        assert dict([each async for each in checkpointer.reencrypt_all()]) == {"t": 6, "t2": 1}
    await assert_hidden(database_url)
    async with Checkpointer(database_url, encryption=keys.encryption(metadata=True)) as strict:
        await assert_filled(strict)
        (found,) = await strict.read("t2")
        assert found.message.metadata == {"a": MARKER}
        assert b"ann-1" in (await stored(database_url, tables.MESSAGES, "payload"))[-1]


async def test_answers_of_any_kind_are_encrypted(database_url: str, keys: Keys) -> None:
    answers: list[Any] = [17, 0.1, 2**63, 1e23, True, None, "", [], {"a": {}}]
    async with Checkpointer(database_url) as plain:
        for number, answer in enumerate(answers):
            await plain.save_hitl_answer("t", f"q{number}", answer)
    moving = keys.encryption(allow_plain=True)
    async with Checkpointer(database_url, encryption=moving) as checkpointer:
        for number, answer in enumerate(answers):
            assert await checkpointer.load_hitl_answer("t", f"q{number}", default="no") == answer
        assert await checkpointer.reencrypt("t") == len(answers)
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        for number, answer in enumerate(answers):
            assert await checkpointer.load_hitl_answer("t", f"q{number}", default="no") == answer


async def test_what_is_no_json_is_named(sqlite_url: str, keys: Keys) -> None:
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
        await execute(sqlite_url, "UPDATE cubepi_hitl_answers SET answer = 'no'")
        keys.generation = 2
        with pytest.raises(CheckpointCorruptionError, match="answer is not JSON"):
            await checkpointer.reencrypt("t")


async def test_an_import_is_encrypted_and_recognised(sqlite_url: str, keys: Keys) -> None:
    given = {"extra": {"title": MARKER}, "messages": [{"role": "user", "content": MARKER}] * 3}
    conversation = parse_conversation(given, "t")
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        assert await import_into(checkpointer, conversation) == 3
        keys.generation = 2
        assert await checkpointer.reencrypt("t") == 4
        assert await import_into(checkpointer, conversation) == 0
    await assert_hidden(sqlite_url)


async def test_metadata_moves_into_the_payload(sqlite_url: str, keys: Keys) -> None:
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said(metadata={"a": MARKER}), said()])
    hiding = keys.encryption(metadata=True)
    async with Checkpointer(sqlite_url, encryption=hiding) as checkpointer:
        assert await checkpointer.reencrypt("t") == 2
        await assert_hidden(sqlite_url)
    keys.generation = 2
    # Without the option they stay inside.
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        assert await checkpointer.reencrypt("t") == 2
        first, second = await checkpointer.read("t")
        assert (first.message.metadata, second.message.metadata) == ({"a": MARKER}, {})
    await assert_hidden(sqlite_url)


async def test_a_thread_that_gets_an_owner_gets_its_key(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
        await checkpointer.save_extra("t", {"b": MARKER}, owner="ann")
        assert await checkpointer.reencrypt("t") == 5
        await checkpointer.fork("t", "fork", at_seq=2)
        assert await checkpointer.reencrypt("fork") == 0
    del keys.by_id["nobody-1"]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        data = await checkpointer.load("fork")
        assert data is not None
        assert data.messages[0] == said()


async def test_a_write_that_is_not_committed_yet_is_waited_for(server_url: str, keys: Keys) -> None:
    """Otherwise the value from before it would be written over it."""
    async with (
        open_engine(server_url) as engine,
        Checkpointer(engine=engine, encryption=keys.encryption()) as writing,
        Checkpointer(server_url, encryption=keys.encryption()) as rotating,
    ):
        await fill(writing)
        keys.generation = 2
        async with AsyncSession(engine) as session, session.begin():
            await writing.bind(session).save_extra("t", {"late": MARKER})
            await writing.bind(session).save_hitl_answer("t", "q", "late")
            rotation = asyncio.create_task(rotating.reencrypt("t"))
            await asyncio.wait({rotation}, timeout=0.5)
        assert await rotation == 4  # the extra and the answer are new
        data = await rotating.load("t")
        assert data is not None
        assert data.extra == {"title": MARKER, "late": MARKER}
        assert await rotating.load_hitl_answer("t", "q") == "late"


async def test_long_threads_are_done_in_batches(
    database_url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reencryption, "_LOOKED_AT", 7)
    monkeypatch.setattr(reencryption, "_WRITTEN", 3)
    expected = [said(str(n)) for n in range(23)]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", expected)
        keys.generation = 2
        await checkpointer.append("t", expected[:1])
        assert await checkpointer.reencrypt("t") == 23
        await checkpointer.fork("t", "fork", at_seq=23)
        for thread_id, count in (("t", 24), ("fork", 23)):
            data = await checkpointer.load(thread_id)
            assert data is not None
            assert data.messages == (expected + expected[:1])[:count]
        assert await checkpointer.reencrypt("fork") == 0


async def test_large_messages_are_divided_by_size(database_url: str, keys: Keys) -> None:
    expected = [said("x" * 400_000) for _ in range(5)]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        for message in expected:
            await checkpointer.append("t", [message])
        keys.generation = 2
        assert await checkpointer.reencrypt("t") == 5
        data = await checkpointer.load("t")
        assert data is not None
        assert data.messages == expected


async def test_a_thread_that_cannot_be_read_stays_as_it_is(sqlite_url: str, keys: Keys) -> None:
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
    before = await everything(sqlite_url)
    keys.by_id["nobody-1"] = bytes(32)
    keys.generation = 2
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        with pytest.raises(DecryptionError):
            await checkpointer.reencrypt("t")
    assert await everything(sqlite_url) == before


async def test_a_scope_encrypts_its_own_threads_anew(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        for owner in ("ann", "bob"):
            await checkpointer.append(owner, [said()], owner=owner)
        keys.generation = 2
        scoped = checkpointer.scoped("ann")
        assert await scoped.reencrypt("bob") == 0
        assert [each async for each in scoped.reencrypt_all()] == [("ann", 1)]
        assert [each async for each in checkpointer.reencrypt_all()] == [("ann", 0), ("bob", 1)]


async def test_a_cancelled_rotation_loses_nothing(
    database_url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    monkeypatch.setattr(reencryption, "_WRITTEN", 2)
    expected = [said(str(n)) for n in range(40)]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", expected)
        for _ in range(8):
            keys.generation += 1
            task = asyncio.ensure_future(checkpointer.reencrypt("t"))
            await asyncio.sleep(dice.uniform(0, 0.05))
            task.cancel()
            await asyncio.wait({task})
            data = await checkpointer.load("t")
            assert data is not None
            assert data.messages == expected
        await checkpointer.reencrypt("t")
        assert await checkpointer.reencrypt("t") == 0


async def test_a_checkpointer_without_encryption_refuses(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        with pytest.raises(ConfigurationError, match="no encryption"):
            await checkpointer.reencrypt("t")


class Writers:
    """Writers who note what they have written."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.messages: list[str] = []
        self.extras: set[tuple[str, str]] = set()
        self.answers: set[tuple[str, str]] = set()

    async def write(self, checkpointer: Checkpointer, writer: int) -> None:
        """Append to two threads, and sometimes write something else."""
        for number in range(EACH):
            name, thread_id = f"{writer}/{number}", f"t{self._dice.randrange(2)}"
            await checkpointer.append(thread_id, [said(id=name)] * self._dice.randint(1, 2))
            self.messages.append(name)
            choice = self._dice.randrange(8)
            if choice < 3:
                await checkpointer.save_extra(thread_id, {name: MARKER})
                self.extras.add((thread_id, name))
            elif choice < 5:
                await checkpointer.save_hitl_answer(thread_id, name, MARKER)
                self.answers.add((thread_id, name))
            elif choice < 6:
                await checkpointer.fork(thread_id, f"fork {name}", at_seq=3)

    async def assert_nothing_is_lost(self, checkpointer: Checkpointer) -> None:
        """Read everything that was written."""
        found: set[str] = set()
        for thread in await checkpointer.list_threads(limit=1_000):
            read = await checkpointer.read(thread.thread_id)
            assert [each.seq for each in read] == list(range(1, len(read) + 1))
            found |= {each.message.id for each in read}
        assert found == set(self.messages)
        for thread_id, name in self.extras:
            data = await checkpointer.load(thread_id, last=1)
            assert data is not None
            assert data.extra[name] == MARKER
        for thread_id, name in self.answers:
            assert await checkpointer.load_hitl_answer(thread_id, name) == MARKER


async def test_rotation_beside_writers_loses_nothing(database_url: str, keys: Keys) -> None:
    """Appends, forks, extra and answers of two checkpointers, while keys are exchanged."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    writers = Writers(seed)
    counts: list[int] = []

    async def rotate(checkpointer: Checkpointer) -> None:
        while len(writers.messages) < WRITERS * EACH:
            keys.generation += 1
            counts.extend([count async for _, count in checkpointer.reencrypt_all()])

    async with (
        Checkpointer(database_url, encryption=keys.encryption()) as first,
        Checkpointer(database_url, encryption=keys.encryption()) as second,
    ):
        both = (first, second)
        writing = (writers.write(both[n % 2], n) for n in range(WRITERS))
        await asyncio.gather(rotate(second), *writing)
        keys.generation += 1
        assert all([count async for _, count in first.reencrypt_all()])
    assert any(counts)
    for old in [key for key in keys.by_id if key != f"nobody-{keys.generation}"]:
        del keys.by_id[old]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await writers.assert_nothing_is_lost(checkpointer)
    await assert_hidden(database_url)
