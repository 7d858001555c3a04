"""The scheme ``mongodb`` on a real server: opening, the checkpointer, and the documents."""

import asyncio
import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bson import SON, Decimal128
from bson.errors import InvalidDocument
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.mongodb import MongoDBSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import INTERRUPT
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import BulkWriteError, InvalidOperation
from skeino.persistence import MongoMetadataStore as SkeinoMongoMetadataStore
from skeino.schemas import ThreadSearchRequest
from sqlalchemy import make_url

from tests.graph.saver.making import (
    checkpoint_of,
    config_for,
    ids,
    metadata_of,
    put_chain,
)
from tests.graph.saver.making import thread as thread_name
from tests.persistence.stores import InMongoDB, name, run, thread
from tests.support.patience import patience, until
from tests.support.seeds import FRESH
from tests.support.servers.process import data_folder_of
from tests.support.servers.products import MONGODB
from tests.support.servers.server import own_program
from tests.support.servers.supervisor import supervised
from threadlog.errors import (
    CheckpointCorruptionError,
    CommitOutcomeUnknownError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    ForkedProcessError,
    NotOpenError,
    ServerUnreachableError,
    StorageError,
    ThreadlogError,
    TooLargeError,
    UnsupportedServerError,
    WrongEventLoopError,
)
from threadlog.persistence import (
    MongoMetadataStore,
    Persistence,
    PersistenceSettings,
    ThreadSearch,
    ThreadTtl,
    open_checkpointer,
    open_persistence,
)

SECRET = "s3cr3t"  # noqa: S105 - made up
NOBODY = "127.0.0.1:1"

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module", autouse=True)
def collected_at_last() -> Iterator[None]:
    """Leave no such socket to the tests of other modules."""
    yield
    gc.collect()


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect the sockets that PyMongo leaves open when a server refuses or dies."""
    yield
    gc.collect()


@pytest.fixture
async def saver(mongodb_url: str) -> AsyncIterator[Any]:
    """Yield the checkpointer of the scheme."""
    async with open_checkpointer(mongodb_url, scheme="mongodb") as opened:
        yield opened


@pytest.fixture
def plain(mongodb_url: str) -> Iterator[MongoDBSaver]:
    """Yield LangGraph's own saver, without threadlog's additions."""
    database = make_url(mongodb_url).database or ""
    with MongoDBSaver.from_conn_string(mongodb_url, db_name=database) as opened:
        yield opened


@pytest.fixture
async def store(mongodb_url: str) -> AsyncIterator[MongoMetadataStore]:
    """Yield an open metadata store."""
    async with MongoMetadataStore(mongodb_url) as opened:
        yield opened


def with_options(url: str, options: str) -> str:
    """Add options to a URL."""
    return f"{url}{'&' if '?' in url else '?'}{options}"


async def names_of(url: str) -> set[str]:
    """Return the names of a database's collections."""
    async with AsyncMongoClient[Any](url) as client:
        return set(await client.get_default_database().list_collection_names())


# --- The checkpointer --------------------------------------------------------------


async def test_the_checkpointer_conforms(mongodb_url: str) -> None:
    """All base capabilities pass, and pruning, which LangGraph's own saver lacks."""

    async def factory() -> AsyncIterator[Any]:
        async with open_checkpointer(mongodb_url, scheme="mongodb") as opened:
            yield opened

    report = await validate(checkpointer_test(name="mongodb")(factory))
    assert {name: result.failures for name, result in report.results.items()} == {
        name: [] for name in report.results
    }
    passed = {name for name, result in report.results.items() if result.passed}
    assert passed == {"put", "put_writes", "get_tuple", "list", "delete_thread", "prune"}


async def test_pending_writes_are_in_the_order_of_tasks(saver: Any) -> None:
    """LangGraph's own saver asks for no order."""
    (config,) = await put_chain(saver, thread_name(), 1)
    for task_id in ("c", "a", "b"):
        await saver.aput_writes(config, [("x", 1), ("y", 2)], task_id)
    listed = [each async for each in saver.alist(config)]
    for found in (await saver.aget_tuple(config), *listed):
        order = [(task_id, channel) for task_id, channel, _ in found.pending_writes]
        assert order == [(task, channel) for task in "abc" for channel in "xy"]


async def test_writes_with_another_path_are_stored(saver: Any, plain: MongoDBSaver) -> None:
    """``update_state`` repeats writes of a task without its path; the first ones stay."""
    (config,) = await put_chain(saver, thread_name(), 1)
    await saver.aput_writes(config, [("x", 1), (INTERRUPT, 1)], "task", "~path")
    writes = [("x", 2), ("y", 2)]
    with pytest.raises(BulkWriteError):
        plain.put_writes(config, writes, "task")
    await saver.aput_writes(config, writes, "task")
    await saver.aput_writes(config, [(INTERRUPT, 2)], "task")
    found = await saver.aget_tuple(config)
    assert found.pending_writes == [("task", INTERRUPT, 2), ("task", "x", 1), ("task", "y", 2)]


async def test_no_writes_are_nothing_to_store(saver: Any, plain: MongoDBSaver) -> None:
    (config,) = await put_chain(saver, thread_name(), 1)
    with pytest.raises(InvalidOperation):
        plain.put_writes(config, [], "task")
    await saver.aput_writes(config, [], "task")
    assert (await saver.aget_tuple(config)).pending_writes == []


async def test_a_bytearray_is_stored_as_langgraphs_serializer_does(
    saver: Any, plain: MongoDBSaver
) -> None:
    """BSON has no bytearray, which the serializer passes on as it is."""
    (config,) = await put_chain(saver, thread_name(), 1)
    value = bytearray(b"a\0b")
    with pytest.raises(InvalidDocument):
        plain.put_writes(config, [("x", value)], "task")
    await saver.aput_writes(config, [("x", value), ("y", {"inner": value})], "task")
    (_, _, found), (_, _, nested) = (await saver.aget_tuple(config)).pending_writes
    assert (found, type(found), nested) == (value, bytearray, {"inner": value})


async def test_a_config_with_an_id_lists_that_checkpoint(saver: Any, plain: MongoDBSaver) -> None:
    configs = await put_chain(saver, thread_name(), 3)
    assert len(list(plain.list(configs[1]))) == 3
    wanted = configs[1]["configurable"]["checkpoint_id"]
    assert await ids(saver.alist(configs[1])) == [wanted]
    assert await ids(saver.alist(configs[1], limit=1)) == [wanted]


async def test_a_limit_of_zero_lists_nothing(saver: Any) -> None:
    (config,) = await put_chain(saver, thread_name(), 1)
    for limit in (0, -1):
        assert await ids(saver.alist(config, limit=limit)) == []


async def test_a_run_id_of_the_config_is_stored(saver: Any, plain: MongoDBSaver) -> None:
    run_id, metadata = uuid4(), metadata_of()
    for each, stamped in ((plain, None), (saver, str(run_id))):
        config: Any = {**config_for(thread_name()), "run_id": run_id}
        stored = await each.aput(config, checkpoint_of(), metadata, {})
        loaded = await each.aget_tuple(stored)
        assert loaded is not None
        assert loaded.metadata.get("run_id") == stamped
        found = [t async for t in saver.alist(stored, filter={"run_id": str(run_id)})]
        assert len(found) == (stamped is not None)


async def test_pruning_keeps_the_newest_of_each_namespace(saver: Any, plain: MongoDBSaver) -> None:
    pruned, other = thread_name(), thread_name()
    newest = []
    for thread_id in (pruned, other):
        for checkpoint_ns in ("", "child:1"):
            chain = await put_chain(saver, thread_id, 3, checkpoint_ns)
            for config in chain:
                await saver.aput_writes(config, [("x", 1)], "task")
            newest.append(chain[-1])
    before = [await saver.aget_tuple(config) for config in newest]
    with pytest.raises(NotImplementedError):
        await plain.aprune([pruned])
    await saver.aprune([pruned])
    assert [await saver.aget_tuple(config) for config in newest] == before
    assert len(await ids(saver.alist({"configurable": {"thread_id": pruned}}))) == 2
    assert saver.writes_collection.count_documents({"thread_id": pruned}) == 2
    await saver.aprune([pruned], strategy="delete")
    assert saver.writes_collection.count_documents({"thread_id": pruned}) == 0
    assert len(await ids(saver.alist({"configurable": {"thread_id": other}}))) == 6


async def test_options_reach_the_saver(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    serde = EncryptedSerializer.from_pycryptodome_aes()
    options = {
        "serde": serde,
        "ttl": 3600,
        "checkpoint_collection_name": "states",
        "writes_collection_name": "steps",
    }
    async with open_checkpointer(mongodb_url, scheme="mongo", options=options) as opened:
        config = await opened.aput(
            config_for("a"),
            checkpoint_of({"text": "plain words"}, {"text": "1"}),
            metadata_of(),
            {},
        )
        await opened.aput_writes(config, [("x", "plain words")], "task")
        found = await opened.aget_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"text": "plain words"}
        assert found.pending_writes == [("task", "x", "plain words")]
    with MongoClient[Any](mongodb_url) as client:
        database = client.get_default_database()
        for collection in ("states", "steps"):
            (document,) = database[collection].find()
            assert b"plain words" not in str(document).encode()
            limits = [
                each.get("expireAfterSeconds") for each in database[collection].list_indexes()
            ]
            assert 3600 in limits


async def test_a_checkpoint_that_is_too_large_is_refused(saver: Any) -> None:
    thread_id = thread_name()
    large = checkpoint_of({"text": "x" * 17 * 2**20}, {"text": "1"})
    with pytest.raises(TooLargeError) as caught:
        await saver.aput(config_for(thread_id), large, metadata_of(), {})
    assert caught.value.limit == 16 * 2**20
    assert "xx" not in str(caught.value)
    assert await saver.aget_tuple(config_for(thread_id)) is None


# --- Opening -----------------------------------------------------------------------


async def opened(uri: str, **options: Any) -> None:
    """Open and close both halves."""
    async with open_checkpointer(uri, scheme="mongodb", options=options):
        pass


async def refused_by_both(uri: str) -> list[ThreadlogError]:
    """Return the errors of opening the checkpointer and the metadata store."""
    errors = []
    for opening in (opened, open_store):
        with pytest.raises(ThreadlogError) as caught:
            await opening(uri)
        assert SECRET not in str(caught.value)
        errors.append(caught.value)
    return errors


async def open_store(uri: str) -> None:
    """Open and close a metadata store."""
    async with MongoMetadataStore(uri):
        pass


@pytest.mark.parametrize(
    "uri",
    [
        f"mysql://me:{SECRET}@h/d",
        f"me:{SECRET}@h/d",
        f"{SECRET}",
        f"mongodb://me:{SECRET}@h:port/d",
        f"mongodb://me:{SECRET}@h/d?connectTimeoutMS=soon",
        f"mongodb://me:{SECRET}@/d",
    ],
)
async def test_a_uri_that_does_not_fit_is_refused(uri: str) -> None:
    for error in await refused_by_both(uri):
        assert isinstance(error, ConfigurationError)
        assert "mongodb://host/database" in str(error)


async def test_unacknowledged_writes_are_refused(mongodb_url: str) -> None:
    for error in await refused_by_both(with_options(mongodb_url, "w=0")):
        assert isinstance(error, ConfigurationError)
        assert "w=0" in str(error)


@pytest.mark.usefixtures("collected")
async def test_a_server_that_is_down_is_named_after_the_timeout_asked_for() -> None:
    uri = f"mongodb://me:{SECRET}@{NOBODY}/d?connectTimeoutMS=300"
    async with patience():
        for error in await refused_by_both(uri):
            assert isinstance(error, ServerUnreachableError)
            assert "Timeout: 0.3s" in str(error)
            assert NOBODY in str(error)
    own = with_options(uri, "serverSelectionTimeoutMS=200")
    for error in await refused_by_both(own):
        assert "Timeout: 0.2s" in str(error)


@pytest.mark.usefixtures("collected")
async def test_a_wrong_password_is_named(mongodb_url: str) -> None:
    uri = make_url(mongodb_url).set(username="me", password=SECRET)
    for error in await refused_by_both(uri.render_as_string(hide_password=False)):
        assert isinstance(error, ConnectionFailedError)


@pytest.mark.usefixtures("collected")
@pytest.mark.processes
async def test_a_server_without_transactions_is_refused() -> None:
    alone = {**server_options(), "durable": False, "more": ["--replSet", ""]}
    with (
        supervised("process", **alone) as report,
        pytest.raises(UnsupportedServerError, match=r"rs\.initiate"),
    ):
        await open_store(report["url"])


def server_options() -> dict[str, Any]:
    """Return the options of a server of the test's own."""
    program = own_program(MONGODB)
    data = str(data_folder_of(MONGODB, program))
    return {"product": MONGODB.name, "command": program.command, "data": data}


async def test_both_use_the_database_of_the_uri(mongodb_url: str) -> None:
    settings = PersistenceSettings(checkpointer_scheme="mongodb", checkpointer_uri=mongodb_url)
    async with open_persistence(settings) as persistence:
        thread_id = await thread(persistence.metadata_store)
        await put_chain(persistence.checkpointer, thread_id, 1)
    assert {"app_threads", "checkpoints"} <= await names_of(mongodb_url)


async def test_without_a_database_each_has_its_own(mongodb_server_url: str) -> None:
    settings = PersistenceSettings(
        checkpointer_scheme="mongodb", checkpointer_uri=mongodb_server_url
    )
    async with open_persistence(settings) as persistence:
        thread_id = await thread(persistence.metadata_store)
        await put_chain(persistence.checkpointer, thread_id, 1)
        async with AsyncMongoClient[Any](mongodb_server_url) as client:
            assert await client["skeino"]["app_threads"].find_one({"_id": thread_id})
            found = await client["checkpointing_db"]["checkpoints"].find_one()
            assert found is not None
            await client.drop_database("skeino")
            await client.drop_database("checkpointing_db")


async def gone(persistence: Persistence, thread_id: str) -> bool:
    """Return True if neither half of a thread is there."""
    row = await persistence.metadata_store.fetch_thread_row(thread_id)
    return row is None and await persistence.checkpointer.aget(config_for(thread_id)) is None


async def test_threads_expire_with_their_checkpoints(mongodb_url: str) -> None:
    settings = PersistenceSettings(
        checkpointer_scheme="mongodb", checkpointer_uri=mongodb_url, ttl_sweep_seconds=0.05
    )
    async with open_persistence(settings) as persistence:
        over, kept = [
            await thread(persistence.metadata_store, ttl=ttl)
            for ttl in (ThreadTtl(0.01), ThreadTtl(0.01, "keep_latest"))
        ]
        for thread_id in (over, kept):
            await put_chain(persistence.checkpointer, thread_id, 3)

        async def done() -> bool:
            left = await ids(persistence.checkpointer.alist(config_for(kept)))
            return len(left) == 1 and await gone(persistence, over)

        await until(done)


async def test_a_store_is_used_where_it_is_open(
    mongodb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MongoMetadataStore(mongodb_url)
    with pytest.raises(NotOpenError):
        await store.fetch_thread_row(name())
    await store.aclose()
    await asyncio.gather(*(store.setup() for _ in range(4)))
    await store.setup()
    with pytest.raises(ConfigurationError, match="open already"):
        await store.__aenter__()
    with pytest.raises(WrongEventLoopError):
        await asyncio.to_thread(asyncio.run, store.fetch_thread_row(name()))
    with monkeypatch.context() as forked:
        forked.setattr("threadlog.persistence.mongodb_client.os.getpid", lambda: 0)
        with pytest.raises(ForkedProcessError):
            await store.fetch_thread_row(name())
    await store.aclose()
    with pytest.raises(NotOpenError):
        await store.fetch_thread_row(name())
    shown = repr(MongoMetadataStore(f"mongodb://me:{SECRET}@host/shop"))
    assert shown == "<MongoMetadataStore mongodb://host/shop>"


async def test_setup_creates_indexes_unless_unwanted(mongodb_url: str) -> None:
    for wanted in (False, True):
        settings = PersistenceSettings(
            checkpointer_scheme="mongodb",
            checkpointer_uri=mongodb_url,
            checkpointer_options={"setup_schema": wanted},
        )
        async with open_persistence(settings) as persistence:
            await thread(persistence.metadata_store)
        with MongoClient[Any](mongodb_url) as client:
            found = client.get_default_database()["app_threads"].index_information()
            assert (len(found) > 1) is wanted


# --- The metadata store ------------------------------------------------------------


async def test_documents_are_skeinos_and_the_other_way_round(mongodb_url: str) -> None:
    """Skeino's own store, on PyMongo's collections in place of the deprecated driver's."""
    async with (
        MongoMetadataStore(mongodb_url) as ours,
        AsyncMongoClient[Any](mongodb_url, tz_aware=True) as client,
    ):
        theirs = SkeinoMongoMetadataStore(mongodb_url)
        theirs._threads = client.get_default_database()["app_threads"]
        theirs._runs = client.get_default_database()["app_runs"]
        for writer, reader in ((ours, theirs), (theirs, ours)):
            thread_id = await thread(writer, metadata={"a": {"b": [1, None]}}, ttl=ThreadTtl(5))
            run_id = await run(writer, thread_id)
            await writer.update_run_status(run_id, "error", error="because")
            await writer.update_thread(thread_id, config={"c": 1}, mark_state_updated=True)
            threads = [rounded(await each.fetch_thread_row(thread_id)) for each in (ours, theirs)]
            runs = [rounded(await each.fetch_run_row(thread_id, run_id)) for each in (ours, theirs)]
            assert threads[0] == threads[1]
            assert runs[0] == runs[1]
            stale = await run(writer, thread_id)
            await reader.touch_runs([stale])
            swept = await reader.fail_stale_runs(
                stale_after_seconds=-1 if reader is theirs else 0, exclude_run_ids=(), error="gone"
            )
            assert [str(row["run_id"]) for row in swept] == [stale]
            found = await reader.search_thread_rows(ThreadSearchRequest(ids=[thread_id]))
            assert [str(row["thread_id"]) for row in found] == [thread_id]
            await reader.delete_thread(thread_id)
            assert await writer.fetch_run_row(thread_id, run_id) is None


def rounded(row: Any) -> Any:
    """Return a row with its times to the millisecond, which is MongoDB's precision."""
    return {
        key: value.replace(microsecond=value.microsecond // 1000 * 1000)
        if isinstance(value, datetime)
        else value
        for key, value in row.items()
    }


async def test_what_is_created_in_one_millisecond_keeps_its_order(
    store: MongoMetadataStore,
) -> None:
    thread_id = await thread(store)
    made = [await run(store, thread_id) for _ in range(30)]
    listed = await store.list_run_rows(thread_id, limit=99, offset=0, status_value=None)
    assert [str(row["run_id"]) for row in listed] == made[::-1]
    times = [row["created_at"] for row in listed]
    assert len(set(times)) == len(times)


async def test_times_are_the_servers(
    store: MongoMetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing depends on the clock of the client."""

    class IsDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Wrong(metaclass=IsDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(1999, 1, 1, tzinfo=UTC)

    for module in ("mongodb_store", "mongodb_client", "mongodb_documents"):
        monkeypatch.setattr(f"threadlog.persistence.{module}.datetime", Wrong)
    thread_id = await thread(store, ttl=ThreadTtl(0))
    row = await store.fetch_thread_row(thread_id)
    assert row is not None
    assert abs(row["created_at"] - datetime.now(UTC)) < timedelta(seconds=30)
    assert [str(each.thread_id) for each in await store.expire_threads()] == [thread_id]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"metadata": [1]}, "metadata is not an object"),
        ({"config": {"a": datetime(2026, 1, 1, tzinfo=UTC)}}, "of type datetime"),
        ({"config": {"a": [Decimal128("1.5")]}}, "of type Decimal128"),
        ({"ttl": "soon"}, "ttl is not an object"),
        ({"created_at": None}, "created_at is not a time"),
        ({"updated_at": "2026"}, "updated_at is not a time"),
        ({"status": 1}, "status is not a string"),
    ],
)
async def test_a_document_that_is_corrupt(
    store: MongoMetadataStore, mongodb_url: str, changed: dict[str, Any], reason: str
) -> None:
    thread_id = await thread(store, ttl=ThreadTtl(5))
    await InMongoDB(mongodb_url).change("app_threads", {}, {"$set": changed})
    for reading in (store.fetch_thread_row(thread_id), store.search_thread_rows(ThreadSearch())):
        with pytest.raises(CheckpointCorruptionError, match=reason) as caught:
            await reading
        assert (caught.value.table, caught.value.thread_id) == ("app_threads", thread_id)


async def test_a_stale_run_that_is_corrupt(store: MongoMetadataStore, mongodb_url: str) -> None:
    """No run is failed which could not be reported."""
    thread_id = await thread(store)
    run_id, other = [await run(store, thread_id) for _ in range(2)]
    await InMongoDB(mongodb_url).change("app_runs", {"_id": other}, {"$set": {"kwargs": []}})
    with pytest.raises(CheckpointCorruptionError, match="kwargs"):
        await store.fail_stale_runs(stale_after_seconds=0, exclude_run_ids=(), error="gone")
    row = await store.fetch_run_row(thread_id, run_id)
    assert row is not None
    assert row["status"] == "pending"


async def test_values_are_no_operators(store: MongoMetadataStore) -> None:
    """A value that looks like an expression or an operator is a value."""
    value = {"$gt": "", "a.b": "$status", "$expr": {"$eq": ["$status", "idle"]}}
    thread_id = await thread(store, metadata=value, config=value)
    await store.update_thread(thread_id, metadata=value, config=value)
    row = await store.fetch_thread_row(thread_id)
    assert row is not None
    assert (row["metadata"], row["config"]) == (value, value)
    for key, inner in value.items():
        assert len(await store.search_thread_rows(ThreadSearch(metadata={key: inner}))) == 1
    found = await store.search_thread_rows(ThreadSearch(metadata={"$gt": "$status"}))
    assert found == []


async def test_an_object_of_another_writer_is_found_in_any_order(
    store: MongoMetadataStore, mongodb_url: str
) -> None:
    thread_id = await thread(store)
    stored = SON([("z", 1), ("a", SON([("y", 2), ("b", 3)]))])
    await InMongoDB(mongodb_url).change("app_threads", {}, {"$set": {"metadata": {"k": stored}}})
    for wanted in ({"z": 1, "a": {"y": 2, "b": 3}}, {"a": {"b": 3, "y": 2}, "z": 1}):
        (row,) = await store.search_thread_rows(ThreadSearch(metadata={"k": wanted}))
        assert str(row["thread_id"]) == thread_id


async def test_what_is_too_large(store: MongoMetadataStore) -> None:
    half = {"a": "x" * 9 * 2**20}
    thread_id = await thread(store)
    for refused in (
        thread(store, metadata=half, config=half),
        store.update_thread(thread_id, metadata=half, config=half),
        store.create_run(name(), thread_id, "agent", half, half, "reject"),
        store.update_run_status(name(), "error", error="x" * 17 * 2**20),
        store.search_thread_rows(ThreadSearch(metadata={"a": "x" * 17 * 2**20})),
    ):
        with pytest.raises(TooLargeError):
            await refused
    assert len(await store.search_thread_rows(ThreadSearch())) == 1
    await store.update_thread(thread_id, metadata=half)
    with pytest.raises(StorageError):  # together with what is stored
        await store.update_thread(thread_id, config=half)
    row = await store.fetch_thread_row(thread_id)
    assert row is not None
    assert (row["metadata"], row["config"]) == (half, {})


async def test_a_transaction_that_the_server_forgot_is_not_run_again(
    store: MongoMetadataStore,
) -> None:
    """A repeated commit is answered so where the first one was applied before a crash."""
    attempts = 0

    async def forgotten(session: Any) -> None:
        nonlocal attempts
        attempts += 1
        await store._threads.insert_one({"_id": name()}, session=session)
        await session.client.admin.command("abortTransaction", session=session)

    with pytest.raises(CommitOutcomeUnknownError):
        await store._client.transact(forgotten)
    assert attempts == 1


async def test_a_conflict_is_run_again(store: MongoMetadataStore) -> None:
    thread_id = await thread(store)
    attempts = 0

    async def change(session: Any) -> None:
        nonlocal attempts
        attempts += 1
        await store._runs.find_one({}, session=session)  # begins the snapshot
        if attempts == 1:
            await store.update_thread(thread_id, status_value="busy")
        change = {"$set": {"status": "error"}}
        await store._threads.update_one({"_id": thread_id}, change, session=session)

    await store._client.transact(change)
    assert attempts == 2
    row = await store.fetch_thread_row(thread_id)
    assert row is not None
    assert row["status"] == "error"


@pytest.mark.usefixtures("collected")
async def test_a_cancelled_call_ends_as_cancelled(store: MongoMetadataStore) -> None:
    """PyMongo alone swallows some cancellations, after which a sweep would go on for ever."""
    chance = random.Random(FRESH)
    await store.expire_threads()
    for _ in range(80):
        call = asyncio.create_task(store.expire_threads())
        await asyncio.sleep(chance.uniform(0, 0.01))
        if call.cancel():
            await asyncio.wait({call})
            assert call.cancelled()


# --- kill -9 -----------------------------------------------------------------------


async def write_until(stop: asyncio.Event, url: str, kept: dict[str, str]) -> None:
    """Create threads with a run each; note what was acknowledged."""
    async with MongoMetadataStore(url) as store:
        while not stop.is_set():
            thread_id, run_id = name(), name()
            try:
                await thread(store, thread_id)
                kept[thread_id] = ""
                await store.create_run(run_id, thread_id, "agent", {}, {}, "reject")
                kept[thread_id] = f"{run_id} pending"
                await store.update_run_status(run_id, "success")
                kept[thread_id] = f"{run_id} success"
            except (CommitOutcomeUnknownError, ConnectionLostError):
                continue


async def kill_and_go_on(report: dict[str, str], kept: dict[str, str]) -> None:
    """Kill the server when some writes were acknowledged, and wait until more are."""
    for _ in range(2):
        for more in (20, 10):
            least = len(kept) + more

            async def enough(least: int = least) -> bool:
                return len(kept) >= least

            await until(enough)
            if more == 20:
                os.kill(int(read_text(report["pid_file"])), signal.SIGKILL)


def read_text(path: str) -> str:
    """Return the text of a file."""
    return Path(path).read_text(encoding="utf-8")


@pytest.mark.usefixtures("collected")
@pytest.mark.processes
async def test_nothing_acknowledged_is_lost_when_the_server_is_killed() -> None:
    kept: dict[str, str] = {}
    stop = asyncio.Event()
    with supervised("restarting", **server_options(), durable=True) as report:
        url = report["url"]
        async with asyncio.TaskGroup() as writers:
            for _ in range(4):
                writers.create_task(write_until(stop, url, kept))
            await kill_and_go_on(report, kept)
            stop.set()
        async with MongoMetadataStore(url) as store:
            for thread_id, noted in kept.items():
                assert await store.fetch_thread_row(thread_id) is not None
                run_id, _, status = noted.partition(" ")
                if run_id:
                    row = await store.fetch_run_row(thread_id, run_id)
                    assert row is not None, thread_id
                    assert row["status"] in {status, "success"}
    print(f"{len(kept)} threads")
