"""Opening, sharing and setting up a metadata store, and databases that are not as expected."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from tests.persistence.stores import (
    InDatabase,
    Opened,
    ago,
    ensure_graph_schema,
    name,
    run,
    thread,
)
from tests.support.databases import execute
from tests.support.ways import host_engine
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    CheckpointCorruptionError,
    ConfigurationError,
    CubepiSchemaError,
    NotOpenError,
    TooLargeError,
)
from threadlog.graph.client import GraphClient
from threadlog.models import METADATA
from threadlog.persistence import InMemoryMetadataStore, MetadataStore, ThreadSearch, ThreadTtl


async def test_setup_opens_and_creates(empty_url: str) -> None:
    """A store of an empty database works after setup() alone, again and again."""
    for _ in range(2):
        store = MetadataStore(empty_url)
        await store.setup()
        await store.setup()
        thread_id = await thread(store)
        assert await store.fetch_thread_row(thread_id) is not None
        await store.aclose()
        await store.aclose()
        with pytest.raises(NotOpenError):
            await store.fetch_thread_row(thread_id)
        await store.setup()
        assert await store.fetch_thread_row(thread_id) is not None
        await store.aclose()


async def test_setup_in_the_block(empty_url: str) -> None:
    """If the store is already open, the missing tables are created."""
    async with MetadataStore(empty_url) as store:
        await asyncio.gather(*(store.setup() for _ in range(4)))
        assert await store.search_thread_rows(ThreadSearch()) == []


async def test_setups_at_once(empty_url: str) -> None:
    """A store is opened once, and several stores create the tables together."""
    one = MetadataStore(empty_url)
    stores = [one, one, MetadataStore(empty_url), MetadataStore(empty_url)]
    await asyncio.gather(*(store.setup() for store in stores))
    assert await one.search_thread_rows(ThreadSearch()) == []
    for store in stores:
        await store.aclose()


async def test_a_hosts_engine(empty_url: str) -> None:
    engine = host_engine(empty_url)
    store = MetadataStore(engine=engine)
    await store.setup()
    thread_id = await thread(store)
    await store.aclose()
    async with MetadataStore(engine=engine) as again:
        assert await again.fetch_thread_row(thread_id) is not None
    await engine.dispose()


async def test_closing_what_was_never_open() -> None:
    """Aclose() is nothing there, as skeino calls it after a failure."""
    store = MetadataStore("sqlite://")
    await store.aclose()
    with pytest.raises(NotOpenError):
        await store.fetch_thread_row(name())
    memory = InMemoryMetadataStore()
    await memory.setup()
    await memory.aclose()


async def test_tables_that_are_missing(innodb_database: str) -> None:
    async with MetadataStore(innodb_database) as store:
        with pytest.raises(CubepiSchemaError):
            await store.fetch_thread_row(name())


async def test_sharing_a_client(empty_url: str) -> None:
    """Setup() creates tables on it, and neither end of a block closes it."""
    client = GraphClient(empty_url, part=METADATA)
    await client.open()
    store = MetadataStore(client=client)
    await store.setup()
    async with store as same:
        assert same is store
        thread_id = await thread(store)
    await store.aclose()
    other = MetadataStore(client=client)
    assert await other.fetch_thread_row(thread_id) is not None
    await client.close()
    with pytest.raises(NotOpenError):
        await store.fetch_thread_row(thread_id)


async def test_a_block_in_a_block(sqlite_url: str) -> None:
    async with MetadataStore(sqlite_url) as store:
        with pytest.raises(ConfigurationError):
            async with store:
                pass


async def test_one_source_is_needed() -> None:
    with pytest.raises(ConfigurationError):
        MetadataStore()
    with pytest.raises(ConfigurationError):
        MetadataStore("sqlite://", engine=host_engine("sqlite://"))
    shown = repr(MetadataStore("mysql://me:secret@host/database"))
    assert "host/database" in shown
    assert "secret" not in shown


@pytest.fixture
async def elsewhere(innodb_graph_url: str) -> AsyncIterator[Opened]:
    """Yield a store on an application's engine whose sessions are five hours ahead."""
    engine = host_engine(innodb_graph_url)

    @event.listens_for(engine.sync_engine, "connect")
    def _(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET time_zone = '+05:00'")
        cursor.close()

    async with MetadataStore(engine=engine) as store:
        yield Opened(store, InDatabase(innodb_graph_url), innodb_graph_url)
    await engine.dispose()


async def test_times_do_not_depend_on_the_sessions_zone(elsewhere: Opened) -> None:
    """Two engines, of which one's sessions are five hours ahead, agree on all times."""
    store = elsewhere.store
    async with MetadataStore(elsewhere.url) as here:
        thread_id = await thread(store, ttl=ThreadTtl(5))
        run_id = await run(store, thread_id)
        await store.update_thread(thread_id, mark_state_updated=True)
        row = await store.fetch_thread_row(thread_id)
        assert await here.fetch_thread_row(thread_id) == row
        run_row = await store.fetch_run_row(thread_id, run_id)
        assert await here.fetch_run_row(thread_id, run_id) == run_row
        now = datetime.now(UTC)
        for moment in (row["created_at"], row["updated_at"], row["state_updated_at"]):
            assert abs(now - moment) < timedelta(seconds=30)
        assert abs(now - run_row["updated_at"]) < timedelta(seconds=30)
        sweep: Any = {"stale_after_seconds": 60, "exclude_run_ids": (), "error": "gone"}
        assert await store.fail_stale_runs(**sweep) == []
        await here.touch_runs([run_id])
        assert await store.fail_stale_runs(**sweep) == []
        await elsewhere.behind.set_run(run_id, updated_at=ago(90))
        (failed,) = await store.fail_stale_runs(**sweep)
        assert await here.fetch_run_row(thread_id, run_id) == failed
        assert await store.expire_threads() == []
        at_once = await thread(here, ttl=ThreadTtl(0))
        assert [str(one.thread_id) for one in await store.expire_threads()] == [at_once]


@pytest.mark.parametrize("column", ["metadata", "config", "ttl"])
@pytest.mark.parametrize("text", ["[1]", "{", "null", ""])
async def test_a_thread_that_is_corrupt(sqlite_url: str, column: str, text: str) -> None:
    async with MetadataStore(sqlite_url) as store:
        thread_id = await thread(store, ttl=ThreadTtl(5))
        await execute(sqlite_url, f"UPDATE app_threads SET {column} = '{text}'")
        for reading in (
            store.fetch_thread_row(thread_id),
            store.search_thread_rows(ThreadSearch()),
        ):
            with pytest.raises(CheckpointCorruptionError, match=column) as caught:
                await reading
            assert (caught.value.table, caught.value.thread_id) == ("app_threads", thread_id)


async def test_ids_that_are_corrupt(sqlite_url: str) -> None:
    async with MetadataStore(sqlite_url) as store:
        await thread(store)
        await execute(sqlite_url, "UPDATE app_threads SET thread_id = 'x'")
        with pytest.raises(CheckpointCorruptionError, match="UUID") as caught:
            await store.search_thread_rows(ThreadSearch())
        assert caught.value.thread_id == "x"


async def test_a_stale_run_that_is_corrupt(sqlite_url: str) -> None:
    """No run is failed which could not be reported."""
    async with MetadataStore(sqlite_url) as store:
        thread_id = await thread(store)
        run_id, other = [await run(store, thread_id) for _ in range(2)]
        bad = f"UPDATE app_runs SET kwargs = '[]' WHERE run_id = '{other}'"
        await execute(sqlite_url, bad)
        with pytest.raises(CheckpointCorruptionError, match="kwargs") as caught:
            await store.fail_stale_runs(stale_after_seconds=0, exclude_run_ids=(), error="gone")
        assert (caught.value.table, caught.value.thread_id) == ("app_runs", thread_id)
        row = await store.fetch_run_row(thread_id, run_id)
        assert row is not None
        assert row["status"] == "pending"


async def test_what_is_too_large(stored: Opened) -> None:
    store = stored.store
    store._client._client.facts = DatabaseFacts(20_000)
    half = {"a": "x" * 9_000}
    thread_id, other = await thread(store), name()
    run_id = await run(store, thread_id)
    row = await store.fetch_thread_row(thread_id)
    for refused in (
        thread(store, other, metadata=half, config=half),
        store.update_thread(thread_id, metadata=half, config=half),
        store.create_run(name(), thread_id, "agent", half, half, "reject"),
        store.update_run_status(run_id, "error", error="x" * 20_000),
        store.fail_stale_runs(stale_after_seconds=0, exclude_run_ids=(), error="x" * 20_000),
        store.search_thread_rows(ThreadSearch(metadata={"a": "x" * 20_000})),
    ):
        with pytest.raises(TooLargeError):
            await refused
    assert await store.fetch_thread_row(thread_id) == row
    assert await store.fetch_thread_row(other) is None
    assert await stored.behind.runs() == [run_id]
    assert (await store.fetch_run_row(thread_id, run_id))["status"] == "pending"


async def test_large_values(stored: Opened) -> None:
    store = stored.store
    large = {"a": "ü😀'\\" * 60_000}
    made = [await thread(store, metadata=large, config=large) for _ in range(3)]
    row = await store.fetch_thread_row(made[0])
    assert (row["metadata"], row["config"]) == (large, large)
    await store.update_thread(made[0], metadata=large)
    for column in ("thread_id", "status", "created_at", "updated_at", "state_updated_at"):
        search = ThreadSearch(metadata=large, sort_by=column)
        found = await store.search_thread_rows(search)
        assert {str(one["thread_id"]) for one in found} == set(made)
        assert found[0]["config"] == large
    runs = [await store.create_run(name(), made[0], "a", large, large, "reject") for _ in "abc"]
    for status in (None, "pending"):
        page: Any = {"limit": 9, "offset": 0, "status_value": status}
        assert await store.list_run_rows(made[0], **page) == runs[::-1]
    sweep: Any = {"stale_after_seconds": 0, "exclude_run_ids": (), "error": "gone"}
    assert len(await store.fail_stale_runs(**sweep)) == 3


async def test_foreign_keys_are_not_relied_on(sqlite_url: str) -> None:
    """Runs are deleted with their thread if an application's SQLite enforces no foreign keys."""
    await ensure_graph_schema(sqlite_url)
    engine = host_engine(sqlite_url)
    async with MetadataStore(engine=engine) as store:
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 0
        for expire in (True, False):
            thread_id = await thread(store, ttl=ThreadTtl(0))
            await store.update_run_status(await run(store, thread_id), "success")
            if expire:
                await store.expire_threads()
            else:
                await store.delete_thread(thread_id)
            assert await InDatabase(sqlite_url).runs() == []
    await engine.dispose()


@pytest.mark.parametrize("first", ["threadlog.persistence.threads", "threadlog.persistence"])
@pytest.mark.processes
def test_either_may_be_imported_first(first: str) -> None:
    """There is no circle of imports, and none loads skeino."""
    code = f"import sys, {first}; assert 'skeino' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
