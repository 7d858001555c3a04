"""Erasing threads and owners: forks, foreign keys, parts of the schema, and what is reported."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from langgraph.store.base import PutOp
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from tests.erasing.contents import fill, rows
from tests.graph.saver.making import put_chain
from tests.support.commits import lost_commits
from tests.support.databases import (
    engine_for,
    engines_of,
    execute,
    on_connection,
    pools_of,
)
from tests.support.factories import UserFactory
from tests.support.matrix import on_each
from tests.support.servers.products import PRODUCTS
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.erasing import OwnerErasure
from threadlog.errors import (
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    ErasureIncompleteError,
    InvalidInputError,
    LeaseLostError,
    ThreadChangedError,
    ThreadHasForksError,
    ThreadReferencedError,
    WriteOwnershipLostError,
)
from threadlog.langgraph import Saver, Store
from threadlog.testing import age_rows

Erase = Callable[..., Any]

BLOCKING: Final = "test_blocking"


async def append(checkpointer: Checkpointer, thread_id: str, owner: str | None = None) -> None:
    """Create a thread of one message."""
    await checkpointer.append(thread_id, [UserFactory()], owner=owner)


async def fork(checkpointer: Checkpointer, source: str, *names: str) -> None:
    """Fork a thread with all its messages."""
    for name in names:
        await checkpointer.fork(source, name, at_seq=1)


async def threads(checkpointer: Checkpointer) -> dict[str, str | None]:
    """Return the threads with the thread that each was forked from."""
    return {t.thread_id: t.parent_thread_id for t in await checkpointer.list_threads()}


@pytest.fixture
async def log(full_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on a database with all parts."""
    async with Checkpointer(full_url) as checkpointer:
        yield checkpointer


async def test_erase_thread_with_forks_is_refused_unless_told_otherwise(log: Checkpointer) -> None:
    await append(log, "t")
    await fork(log, "t", "f1", "f2")
    await fork(log, "f2", "ff")
    for dry_run in (False, True):
        with pytest.raises(ThreadHasForksError) as caught:
            await log.erase_thread("t", dry_run=dry_run)
        assert caught.value.thread_id == "t"
    assert await threads(log) == {"t": None, "f1": "t", "f2": "t", "ff": "f2"}

    counted = await log.erase_thread("t", forks="detach", dry_run=True)
    assert (counted.thread_ids, counted.detached_forks) == (("t",), ("f1", "f2"))
    erased = await log.erase_thread("t", forks="detach")
    assert (erased.thread_ids, erased.detached_forks) == (("t",), ("f1", "f2"))
    assert await threads(log) == {"f1": None, "f2": None, "ff": "f2"}

    counted = await log.erase_thread("f2", forks="erase", dry_run=True)
    erased = await log.erase_thread("f2", forks="erase")
    assert erased.thread_ids == counted.thread_ids == ("ff", "f2")
    assert erased.rows == counted.rows
    assert await threads(log) == {"f1": None}


async def test_detached_fork_keeps_its_time(full_url: str) -> None:
    """Else no run of pruning would find it old."""
    async with Checkpointer(full_url) as log:
        await append(log, "t")
        await fork(log, "t", "f")
        await on_connection(full_url, partial(age_rows, by=timedelta(days=100)))
        (before, _) = await log.list_threads()
        await log.erase_thread("t", forks="detach")
        (after,) = await log.list_threads()
    assert (after.thread_id, after.updated_at) == ("f", before.updated_at)


async def test_nothing_is_erased_of_a_thread_that_is_refused(full_url: str) -> None:
    async with Store(full_url) as store, Checkpointer(full_url) as log:
        await store.aput(("users", "1"), "k", {})
        await append(log, "t")
        await fork(log, "t", "f")
        with pytest.raises(ThreadHasForksError):
            await log.erase_thread("t", memories=[("users", "1")])
        assert len(await store.asearch(("users",))) == 1


@pytest.mark.parametrize("database_name", on_each(["sqlite"]))
async def test_rows_of_an_owner_without_the_threads_row_are_erased(full_url: str) -> None:
    """SQLAlchemy's connections to SQLite enforce no foreign keys."""
    thread_id = uuid4()
    await on_connection(full_url, partial(fill, thread_id=thread_id, mark="m"))
    await execute(full_url, "DELETE FROM cubepi_threads")
    async with Checkpointer(full_url) as log:
        counted = await log.erase_owner("m", dry_run=True)
        erased = await log.erase_owner("m")
    assert erased.thread_ids == counted.thread_ids == (str(thread_id),)
    assert erased.rows == counted.rows
    found = await on_connection(full_url, rows)
    assert {name for name, each in found.items() if each} == {"threadlog_store"}


async def test_erase_owner_erases_own_forks_first_and_leaves_others(
    log: Checkpointer, full_url: str
) -> None:
    await append(log, "a", "alice")
    await fork(log, "a", "0-fork", "z-fork")
    await fork(log, "0-fork", "deep")
    await append(log, "b", "bob")
    await append(log, "nobodys")
    before = await on_connection(full_url, rows)
    counted = await log.erase_owner("alice", dry_run=True)
    assert await on_connection(full_url, rows) == before
    erased = await log.erase_owner("alice")
    assert erased.thread_ids == counted.thread_ids == ("deep", "0-fork", "z-fork", "a")
    assert erased.rows == counted.rows
    assert (erased.owner, erased.dry_run, counted.dry_run) == ("alice", False, True)
    assert erased.rows["threadlog_owners"] == 4
    assert await threads(log) == {"b": None, "nobodys": None}
    again = await log.erase_owner("alice")
    assert (again.thread_ids, set(again.rows.values())) == ((), {0})


async def foreign_fork(log: Checkpointer) -> None:
    """Create threads of alice, of which one has a fork of bob's with a fork of its own."""
    await append(log, "a")
    await log.fork("a", "bobs", at_seq=1, owner="bob")
    await log.fork("bobs", "bobs2", at_seq=1)
    await log.save_extra("a", {}, owner="alice")
    await append(log, "b", "alice")


async def test_erase_owner_finishes_the_others_and_raises_with_what_is_left(
    log: Checkpointer,
) -> None:
    await foreign_fork(log)
    with pytest.raises(
        ErasureIncompleteError, match=r"of owner 'alice' were not erased \(1\)"
    ) as caught:
        await log.erase_owner("alice")
    assert list(caught.value.left) == ["a"]
    assert caught.value.erased.thread_ids == ("b",)
    assert set(await threads(log)) == {"a", "bobs", "bobs2"}


async def test_erase_owner_detaches_forks_of_others(log: Checkpointer) -> None:
    await foreign_fork(log)
    erased = await log.erase_owner("alice", forks="detach")
    assert (erased.thread_ids, erased.detached_forks) == (("a", "b"), ("bobs",))
    assert await threads(log) == {"bobs": None, "bobs2": "bobs"}


async def test_erase_owner_erases_forks_of_others_if_told_to(log: Checkpointer) -> None:
    await foreign_fork(log)
    counted = await log.erase_owner("alice", forks="erase", dry_run=True)
    erased = await log.erase_owner("alice", forks="erase")
    assert erased.thread_ids == counted.thread_ids == ("bobs2", "bobs", "a", "b")
    assert await threads(log) == {}


async def test_a_scope_erases_no_fork_of_another_owner(log: Checkpointer) -> None:
    await foreign_fork(log)
    scoped = log.scoped("alice")
    with pytest.raises(ThreadHasForksError):
        await scoped.erase_thread("a", forks="erase")
    with pytest.raises(InvalidInputError, match="not scoped"):
        await scoped.erase_thread("b", memories=[("users", "1")])
    await fork(log, "b", "own")
    assert (await scoped.erase_thread("b", forks="erase")).thread_ids == ("own", "b")
    assert set(await threads(log)) == {"a", "bobs", "bobs2"}


async def test_ids_that_only_a_graph_or_a_server_has_are_erased(full_url: str) -> None:
    async with Saver(full_url) as saver, Checkpointer(full_url) as log:
        for config in await put_chain(saver, "graph", 3):
            await saver.aput_writes(config, [("w", 1)], "task")
        erased = await log.erase_thread("graph")
        assert erased.rows["threadlog_checkpoints"] == 3
        assert erased.rows["threadlog_checkpoint_writes"] > 0
        assert [
            found async for found in saver.alist({"configurable": {"thread_id": "graph"}})
        ] == []
        assert (await log.erase_thread("graph")).thread_ids == ()
        server = uuid4()
        await on_connection(full_url, partial(fill, thread_id=server, mark="m"))
        await log.delete_thread(str(server))
        erased = await log.erase_thread(str(server))
    assert erased.thread_ids == (str(server),)
    assert (erased.rows["app_threads"], erased.rows["app_runs"]) == (1, 1)
    found = await on_connection(full_url, rows)
    assert {name for name, each in found.items() if each} == {"threadlog_store"}


async def test_memories_are_erased_by_whole_labels(full_url: str) -> None:
    namespaces = [("users", "4"), ("users", "4", "deep"), ("users", "42"), ("user",), ("x", "4")]
    async with Store(full_url) as store, Checkpointer(full_url) as log:
        await store.abatch([PutOp(namespace, "k", {}) for namespace in namespaces])
        await append(log, "t", "alice")
        counted = await log.erase_owner("alice", memories=[("users", "4"), ("user",)], dry_run=True)
        erased = await log.erase_owner("alice", memories=[("users", "4"), ("user",)])
        assert erased.rows["threadlog_store"] == counted.rows["threadlog_store"] == 3
        assert set(await store.alist_namespaces()) == {("users", "42"), ("x", "4")}
        erased = await log.erase_thread("none", memories=[["x"]])
        assert (erased.thread_ids, erased.rows["threadlog_store"]) == ((), 1)


@pytest.mark.one_database
@pytest.mark.parametrize(
    "memories", ["users", [()], ["users", "4"], [("a.b",)], [("",)], [(1,)], None, [("a\0",)]]
)
async def test_memories_without_labels_are_refused(log: Checkpointer, memories: Any) -> None:
    with pytest.raises(InvalidInputError):
        await log.erase_thread("t", memories=memories)
    with pytest.raises(InvalidInputError):
        await log.erase_owner("alice", memories=memories)
    with pytest.raises(InvalidInputError, match="forks"):
        await log.erase_thread("t", forks="ignore")  # type: ignore[arg-type]  # which is the point


async def test_a_database_with_messages_only_is_enough(database_url: str) -> None:
    async with Checkpointer(database_url) as log:
        await append(log, "t")
        erased = await log.erase_thread("t", memories=[("users",)])
        assert {name for name, count in erased.rows.items() if count} == {
            "cubepi_messages",
            "cubepi_threads",
        }
        assert "threadlog_checkpoints" not in erased.rows
        if "threadlog_owners" not in erased.rows:  # SQLite has them
            with pytest.raises(CubepiSchemaUninitialized, match="--part control"):
                await log.erase_owner("alice")


@pytest.mark.every_way
async def test_a_thread_is_erased_in_every_way(checkpointer: Checkpointer) -> None:
    await append(checkpointer, "t")
    await append(checkpointer, "other")
    await fork(checkpointer, "t", "f")
    with pytest.raises(ThreadHasForksError):
        await checkpointer.erase_thread("t")
    erased = await checkpointer.erase_thread("t", forks="erase")
    assert erased.thread_ids == ("f", "t")
    assert (erased.rows["cubepi_threads"], erased.rows["cubepi_messages"]) == (2, 2)
    assert await threads(checkpointer) == {"other": None}


async def test_a_part_of_another_version_is_refused(full_url: str) -> None:
    async with Checkpointer(full_url) as log:
        await append(log, "t", "alice")
        await execute(full_url, "UPDATE threadlog_graph_version SET version = version + 1")
        try:
            with pytest.raises(CubepiSchemaMismatch):
                await log.erase_thread("t")
        finally:
            await execute(full_url, "UPDATE threadlog_graph_version SET version = version - 1")
        assert set(await threads(log)) == {"t"}


_COLUMN: Final = text(
    "SELECT column_type, character_set_name, collation_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND table_name = :table AND column_name = 'thread_id'"
)


async def refer(url: str, table: str, key: str, *, deferred: bool = False) -> None:
    """Create an application's table with a foreign key to a row."""

    def create(connection: Connection) -> None:
        name = connection.dialect.name
        kind = "VARCHAR(255)"
        if name in {"mysql", "mariadb"}:  # its type and collation must be the column's
            found = connection.execute(_COLUMN, {"table": table}).one()
            kind = "{} CHARACTER SET {} COLLATE {}".format(*found)
        elif name == "postgresql":
            kind = "UUID" if table == "app_threads" else 'VARCHAR(255) COLLATE "C"'
        late = " DEFERRABLE INITIALLY DEFERRED" if deferred else ""
        connection.execute(
            text(
                f"CREATE TABLE {BLOCKING} (thread_id {kind}, "
                f"FOREIGN KEY (thread_id) REFERENCES {table} (thread_id){late})"
            )
        )
        connection.execute(text(f"INSERT INTO {BLOCKING} VALUES ('{key}')"))

    await on_connection(url, create)


@pytest.fixture
async def with_host_table(full_url: str) -> AsyncIterator[str]:
    """Yield the database's URL; drop the application's table at the end."""
    yield full_url
    await execute(full_url, f"DROP TABLE IF EXISTS {BLOCKING}")


@pytest.mark.parametrize("table", ["cubepi_threads", "app_threads"])
async def test_a_foreign_key_of_the_application_is_named_and_nothing_is_erased(
    with_host_table: str, table: str
) -> None:
    url, thread_id = with_host_table, uuid4()
    await on_connection(url, partial(fill, thread_id=thread_id, mark="m"))
    await refer(url, table, str(thread_id))
    before = await on_connection(url, rows)
    async with Checkpointer(url) as log:
        with pytest.raises(ThreadReferencedError) as caught:
            await log.erase_thread(str(thread_id))
        assert (caught.value.thread_id, caught.value.table) == (str(thread_id), BLOCKING)
        assert caught.value.__cause__ is not None
        assert await on_connection(url, rows) == before
        await append(log, "other", "m")
        with pytest.raises(ErasureIncompleteError, match=BLOCKING) as left:
            await log.erase_owner("m", memories=[("users", "m")])
        assert list(left.value.left) == [str(thread_id)]
        assert left.value.erased.thread_ids == ("other",)
        assert left.value.erased.rows["threadlog_store"] == 1
        await execute(url, f"DELETE FROM {BLOCKING}")
        assert (await log.erase_owner("m")).thread_ids == (str(thread_id),)


@pytest.mark.parametrize("database_name", on_each(["sqlite", "postgres"]))
async def test_a_foreign_key_that_is_checked_at_the_commit_is_named(with_host_table: str) -> None:
    """Django creates all of its keys so."""
    url = with_host_table
    async with Checkpointer(url) as log:
        await append(log, "t", "alice")
        await refer(url, "cubepi_threads", "t", deferred=True)
        with pytest.raises(ThreadReferencedError) as caught:
            await log.erase_thread("t")
        assert caught.value.table == BLOCKING
        assert await threads(log) == {"t": None}


async def test_erase_thread_in_a_session_is_the_applications_transaction(full_url: str) -> None:
    engine = engine_for(full_url)
    async with Checkpointer(full_url) as log:
        await append(log, "t", "alice")
        await fork(log, "t", "f")
        async with AsyncSession(engine) as session:
            erased = await log.bind(session).erase_thread("t", forks="erase")
            assert erased.thread_ids == ("f", "t")
            await session.rollback()
        assert set(await threads(log)) == {"t", "f"}
        async with AsyncSession(engine) as session, session.begin():
            erased = await log.bind(session).scoped("alice").erase_thread("t", forks="erase")
        assert erased.thread_ids == ("f", "t")
    # On SQLite too, where SQLAlchemy's connections enforce no foreign keys.
    assert not any((await on_connection(full_url, rows)).values())
    await engine.dispose()


@pytest.mark.parametrize("database_name", on_each(PRODUCTS))
async def test_a_foreign_key_is_named_in_a_session_too(with_host_table: str) -> None:
    """PostgreSQL runs nothing more in the transaction."""
    engine = engine_for(with_host_table)
    async with Checkpointer(with_host_table) as log, AsyncSession(engine) as session:
        await append(log, "t")
        await refer(with_host_table, "cubepi_threads", "t")
        with pytest.raises(ThreadReferencedError) as caught:
            await log.bind(session).erase_thread("t")
        assert caught.value.table == BLOCKING
        await session.rollback()
        assert set(await threads(log)) == {"t"}
    await engine.dispose()


async def test_writers_that_check_are_refused_after_the_erasure(full_url: str) -> None:
    async with Checkpointer(full_url) as log, Saver(full_url) as saver:
        claim = await log.claim_run("t", "r", lease=timedelta(hours=1))
        await append(log, "t")
        owning = await saver.aclaim_write_ownership("t")
        await put_chain(owning, "t", 1)
        await log.erase_thread("t")
        with pytest.raises(LeaseLostError):
            await log.append("t", [UserFactory()], claim=claim)
        with pytest.raises(ThreadChangedError):
            await log.append("t", [UserFactory()], if_last_seq=1)
        with pytest.raises(WriteOwnershipLostError):
            await put_chain(owning, "t", 1)
        assert (await log.erase_thread("t")).thread_ids == ()


async def test_the_synchronous_checkpointer_erases_the_same(full_url: str) -> None:
    thread_id = uuid4()
    await on_connection(full_url, partial(fill, thread_id=thread_id, mark="m"))
    with SyncCheckpointer(full_url) as log:
        counted = log.erase_thread(str(thread_id), dry_run=True)
        erased = log.erase_owner("m")
        assert (erased.thread_ids, erased.rows) == (counted.thread_ids, counted.rows)
        assert log.erase_thread(str(thread_id)).thread_ids == ()


@pytest.mark.parametrize("database_name", on_each(PRODUCTS))
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_lost_commit_is_counted_once(full_url: str, *, arrives: bool) -> None:
    thread_id = uuid4()
    await on_connection(full_url, partial(fill, thread_id=thread_id, mark="m"))
    engine: AsyncEngine = engine_for(full_url)
    async with Checkpointer(full_url) as log, engine.connect() as other:
        expected = await log.erase_thread(str(thread_id), dry_run=True)
        writing = engines_of(log)[0]
        with lost_commits(writing, other, arrives=arrives) as killed:
            erased = await log.erase_thread(str(thread_id))
        assert killed
        assert (erased.thread_ids, erased.rows) == (expected.thread_ids, expected.rows)
        assert await threads(log) == {}
    await engine.dispose()


async def _finish(log: Checkpointer, erasure: OwnerErasure) -> None:
    while not erasure.done:
        await log.client.write(erasure.step)


async def test_a_thread_that_comes_back_is_erased_again_or_reported(log: Checkpointer) -> None:
    for name in ("a", "b", "c"):
        await append(log, name, "alice")
    erasure = OwnerErasure("alice")
    while erasure.threads < 2:
        await log.client.write(erasure.step)
    await append(log, "a", "alice")
    await append(log, "b")
    with pytest.raises(ErasureIncompleteError, match="without an owner") as caught:
        await _finish(log, erasure)
    assert list(caught.value.left) == ["b"]
    assert caught.value.erased.rows["cubepi_threads"] == 4
    assert await threads(log) == {"b": None}


async def test_a_cancelled_erasure_can_be_made_again(log: Checkpointer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    names = [f"t{number}" for number in range(10)]
    for name in names:
        await append(log, name, "alice")
    early = 0
    while await log.list_threads(owner="alice"):
        try:
            async with asyncio.timeout(early and dice.random() * 0.05):
                await log.erase_owner("alice")
        except TimeoutError:
            early += 1
        for thread in await log.list_threads():
            assert thread.last_seq == 1, "of a thread that is there nothing is missing"
    assert early, "the first is cancelled before it begins"
    assert not any(pool.checkedout() for pool in pools_of(log))
