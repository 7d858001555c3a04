"""What is stored encrypted comes back equal, and is in no column of any table."""

import asyncio
import itertools
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import sessionmaker

from tests.cli.helpers import threadlog
from tests.encryption.keys import Keys, change, everything, in_base64, stored
from tests.log.test_roundtrip import column_objects, column_text, messages, values
from tests.support.databases import on_connection
from tests.support.factories import HitlRequestFactory
from tests.support.matrix import rounds
from tests.support.ways import open_engine, open_sync_engine
from threadlog import Checkpointer, Database, SyncCheckpointer, SyncDatabase, encryption
from threadlog.errors import ConfigurationError, TooLargeError
from threadlog.messages import Message, TextContent, UserMessage
from threadlog.models import SEARCH, Thread, tables

MARKER: Final = "the secret of the sphinx"


def said(text: str = MARKER, **fields: Any) -> Message:
    """Create a message with a text."""
    return UserMessage(content=[TextContent(text=text)], **fields)


async def fill(checkpointer: Any, thread_id: str = "t", **owner: Any) -> None:
    """Store one of everything."""
    await checkpointer.append(thread_id, [said(), said(metadata={"a": 1})], **owner)
    await checkpointer.save_extra(thread_id, {"title": MARKER})
    question = HitlRequestFactory(question_id="q", payload={"text": MARKER})
    await checkpointer.save_pending_request(thread_id, question, run_id="r")
    await checkpointer.save_hitl_answer(thread_id, "q", MARKER)
    await checkpointer.save_hitl_answer(thread_id, "q", {"text": MARKER}, run_id="r")


async def assert_filled(checkpointer: Any, thread_id: str = "t") -> None:
    """Read what `fill` stores, by every method."""
    expected = [said(), said(metadata={"a": 1})]
    data = await checkpointer.load(thread_id)
    assert (data.messages, data.extra) == (expected, {"title": MARKER})
    assert [each.message for each in await checkpointer.read(thread_id)] == expected
    assert [each.message async for each in checkpointer.stream(thread_id)] == expected
    assert (await checkpointer.load(thread_id, last=1, whole_turns=True)).messages == expected[1:]
    assert await checkpointer.snapshot(thread_id, at_seq=2) == expected
    question, run_id = await checkpointer.load_pending(thread_id)
    assert (question.payload, run_id) == ({"text": MARKER}, "r")
    assert await checkpointer.load_hitl_answer(thread_id, "q") == MARKER
    assert await checkpointer.load_hitl_answer(thread_id, "q", run_id="r") == {"text": MARKER}


async def assert_hidden(url: str) -> None:
    """Look for the texts of `fill` in every column."""
    found = await everything(url)
    assert b"user" in found
    for text in (MARKER.encode(), *in_base64(MARKER)):
        assert text not in found


def test_the_search_for_base64_finds_a_text_at_any_place() -> None:
    for before in (b"", b"a", b"ab", b"abc"):
        coded = b64encode(before + MARKER.encode() + b"more")
        assert any(text in coded for text in in_base64(MARKER))


async def test_everything_comes_back_and_is_nowhere(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
        await checkpointer.fork("t", "fork", at_seq=2, metadata={"why": MARKER})
        await assert_hidden(database_url)
        await assert_filled(checkpointer)
        fork = await checkpointer.load("fork")
        assert fork is not None
        assert fork.messages == [said(), said(metadata={"a": 1})]
        assert fork.extra == {"title": MARKER, "fork": {"why": MARKER}}
        assert await checkpointer.load_pending("fork") is None
    async with Checkpointer(database_url) as plain, Checkpointer(database_url) as other:
        await fill(plain, "plain")
        await assert_filled(other, "plain")
    assert MARKER.encode() in await everything(database_url)  # the test can fail


async def test_ids_roles_times_and_metadata_stay_readable(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said(metadata={"a": 1}, run_id="r")])
    for column, expected in {"role": "user", "metadata": {"a": 1}, "run_id": "r"}.items():
        assert await stored(database_url, tables.MESSAGES, column, thread_id="t") == [expected]
    await change(database_url, tables.MESSAGES, {"metadata": {"a": 2}}, thread_id="t")
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        (found,) = await checkpointer.read("t")
        assert found.message.metadata == {"a": 2}


async def test_metadata_is_encrypted_on_demand(database_url: str, keys: Keys) -> None:
    metadata = {"about": MARKER}
    hiding = keys.encryption(metadata=True)
    async with Checkpointer(database_url, encryption=hiding) as checkpointer:
        await checkpointer.append("t", [said(metadata=metadata)])
        await checkpointer.fork("t", "fork", at_seq=1)
    assert await stored(database_url, tables.MESSAGES, "metadata") == [{}, {}]
    await assert_hidden(database_url)
    # A row says itself which copy counts.
    for either in (hiding, keys.encryption()):
        async with Checkpointer(database_url, encryption=either) as checkpointer:
            for thread_id in ("t", "fork"):
                (found,) = await checkpointer.read(thread_id)
                assert found.message.metadata == metadata


@asynccontextmanager
async def on_engine(url: str, **options: Any) -> Any:
    """Open a checkpointer on an application's engine."""
    async with open_engine(url) as engine, Checkpointer(engine=engine, **options) as opened:
        yield opened


@asynccontextmanager
async def on_factory(url: str, **options: Any) -> Any:
    """Open a checkpointer on an application's session factory."""
    async with open_engine(url) as engine:
        factory = async_sessionmaker(engine)
        async with Checkpointer(session_factory=factory, **options) as opened:
            yield opened


@asynccontextmanager
async def in_session(url: str, **options: Any) -> Any:
    """Open a checkpointer bound to an application's session."""
    async with (
        open_engine(url) as engine,
        Checkpointer(engine=engine, **options) as opened,
        async_sessionmaker(engine).begin() as session,
    ):
        yield opened.bind(session)


@asynccontextmanager
async def in_database(url: str, **options: Any) -> Any:
    """Open the checkpointer of a `Database`."""
    async with Database(url, **options) as database:
        await database.setup()
        yield database.checkpointer


@pytest.mark.parametrize("way", [on_engine, on_factory, in_session, in_database])
async def test_every_way_encrypts(
    database_url: str, keys: Keys, way: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    async with way(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer, owner="ann")
        await assert_filled(checkpointer)
        await fill(checkpointer.scoped("ann"), "scoped")
        await assert_filled(checkpointer.scoped("ann"), "scoped")
        assert await checkpointer.scoped("bob").load("scoped") is None
    await assert_hidden(database_url)
    assert set(keys.by_id) == {"ann-1"}


async def test_synchronous_ways_encrypt(database_url: str, keys: Keys) -> None:
    def use(checkpointer: Any, thread_id: str) -> None:
        checkpointer.append(thread_id, [said()])
        checkpointer.save_extra(thread_id, {"title": MARKER})
        checkpointer.fork(thread_id, f"{thread_id} fork", at_seq=1)
        keys.generation += 1
        assert checkpointer.reencrypt(thread_id) == 2
        data = checkpointer.load(thread_id)
        assert (data.messages, data.extra) == ([said()], {"title": MARKER})
        assert [key for key, count in checkpointer.reencrypt_all() if count] != []

    given = keys.encryption()
    with SyncCheckpointer(database_url, encryption=given) as checkpointer:
        use(checkpointer, "url")
    with SyncDatabase(database_url, encryption=given) as database:
        database.setup()
        use(database.checkpointer, "database")
    async with open_sync_engine(database_url) as engine:
        with SyncCheckpointer(engine=engine, encryption=given) as checkpointer:
            use(checkpointer, "engine")
            with sessionmaker(engine).begin() as session:
                use(checkpointer.bind(session), "session")
    await assert_hidden(database_url)


def test_generated_messages_come_back_equal(database_url: str, keys: Keys) -> None:
    numbers = itertools.count()

    async def opened() -> Checkpointer:
        return await Checkpointer(database_url, encryption=keys.encryption()).__aenter__()

    with asyncio.Runner() as runner:
        checkpointer = runner.run(opened())

        @settings(max_examples=rounds(60), suppress_health_check=list(HealthCheck), deadline=None)
        @given(
            given_messages=st.lists(messages, max_size=4),
            extra=column_objects,
            answer=values(column_text),
        )
        def check(given_messages: list[Message], extra: Any, answer: Any) -> None:
            async def store() -> None:
                thread_id = f"t{next(numbers)}"
                await checkpointer.append(thread_id, given_messages)
                await checkpointer.save_extra(thread_id, extra)
                await checkpointer.save_hitl_answer(thread_id, "q", answer)
                data = await checkpointer.load(thread_id)
                assert data is not None
                assert (data.messages, data.extra) == (given_messages, extra)
                assert await checkpointer.load_hitl_answer(thread_id, "q") == answer

            runner.run(store())

        check()
        runner.run(checkpointer.__aexit__())


async def test_a_batch_has_the_keys_of_its_owners(server_url: str, keys: Keys) -> None:
    async with Checkpointer(
        server_url, encryption=keys.encryption(), max_pool_size=1
    ) as checkpointer:
        for owner in ("ann", "bob"):
            await checkpointer.append(owner, [said()], owner=owner)
        await checkpointer.append("nobody", [said()])
        await asyncio.gather(
            *(
                checkpointer.append(t, [said(str(n))])
                for n in range(20)
                for t in ("ann", "bob", "nobody")
            )
        )
        for thread_id in ("ann", "bob", "nobody"):
            data = await checkpointer.load(thread_id)
            assert data is not None
            assert data.messages == [said(), *(said(str(n)) for n in range(20))]
            for payload in await stored(
                server_url, tables.MESSAGES, "payload", thread_id=thread_id
            ):
                assert f"{thread_id}-1".encode() in payload


async def test_a_key_is_asked_for_once(sqlite_url: str, keys: Keys) -> None:
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        for _ in range(5):
            await checkpointer.append("t", [said()])
            await checkpointer.load("t")
    assert keys.asked == ["nobody-1"]


def test_threads_share_an_encryption(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_KEPT", 2)  # fewer than are used, so that keys come and go
    shared = keys.encryption()

    def use(number: int) -> bool:
        place, value = encryption.Place("payload", "t", number), str(number).encode() * 100
        key_id = keys.key_id(f"owner {number % 3}")
        return shared.decrypt(shared.encrypt(value, key_id, place), place) == value

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(2_000)))


async def test_an_append_key_finds_its_messages(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        assert await checkpointer.append("t", [said()], key="k", owner="ann") == [1]
        keys.generation += 1
        assert await checkpointer.append("t", [said()], key="k", owner="ann") == [1]
        data = await checkpointer.load("t")
        assert data is not None
        assert data.messages == [said()]


async def test_a_question_is_removed_by_its_readable_id(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
        clear = checkpointer.clear_pending_request_if_matches
        assert not await clear("t", question_id="other", run_id="r")
        assert await clear("t", question_id="q", run_id="r")
        assert await checkpointer.load_pending("t") is None


async def test_a_long_value_is_refused_before_it_is_sent(mysql_url: str, keys: Keys) -> None:
    """Base64 takes a third more than the text, which fits."""
    async with Checkpointer(mysql_url) as plain:
        limit = plain.client.facts.statement_limit
        text = "x" * (limit - 100_000)
        await plain.save_extra("plain", {"text": text})
    async with Checkpointer(mysql_url, encryption=keys.encryption()) as checkpointer:
        with pytest.raises(TooLargeError):
            await checkpointer.save_extra("t", {"text": text})
        await checkpointer.save_extra("t", {"text": text[: limit // 2]})


async def test_keys_are_kept_for_a_while_and_not_all(
    sqlite_url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        for owner in ("ann", "bob", "cid"):
            await checkpointer.append(owner, [said()], owner=owner)
    keys.asked.clear()
    monkeypatch.setattr(encryption, "_KEPT", 2)
    limited = keys.encryption()
    async with Checkpointer(sqlite_url, encryption=limited) as checkpointer:
        for thread_id in ("ann", "bob", "cid", "cid", "bob", "ann"):
            await checkpointer.load(thread_id)
    assert keys.asked == ["ann-1", "bob-1", "cid-1", "ann-1"]
    keys.asked.clear()
    monkeypatch.setattr(encryption, "_KEPT_SECONDS", 0.0)
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.load("ann")
        await checkpointer.load("ann")
    assert keys.asked == ["ann-1", "ann-1"]


async def test_nothing_is_found_in_what_is_encrypted(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
    title = Thread.extra["title"].as_string()
    named = select(Thread.thread_id, title)
    assert await on_connection(database_url, lambda c: list(c.execute(named))) == [("t", None)]


def test_a_search_index_that_is_created_later_stays_empty(sqlite_url: str, keys: Keys) -> None:
    with SyncCheckpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        asyncio.run(on_connection(sqlite_url, SEARCH.metadata.create_all))
        checkpointer.append("t", [said()])
    result = threadlog("index", "--url", sqlite_url)
    assert result.exit_code != 0
    assert "is encrypted" in result.output + result.stderr
    assert asyncio.run(stored(sqlite_url, tables.SEARCH, "text")) == []


async def test_the_search_index_is_refused(sqlite_url: str, keys: Keys) -> None:
    async with Checkpointer(sqlite_url):
        pass
    await on_connection(sqlite_url, SEARCH.metadata.create_all)
    checkpointer = Checkpointer(sqlite_url, encryption=keys.encryption())
    with pytest.raises(ConfigurationError, match="search index"):
        await checkpointer.__aenter__()
    assert not checkpointer.is_open
    with pytest.raises(ConfigurationError, match="search index"):
        async with Database(sqlite_url, encryption=keys.encryption()):
            pass
