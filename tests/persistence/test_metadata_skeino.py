"""Metadata stores beside skeino's own: the same inputs give the same rows."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import pytest
from skeino.persistence import MetadataStoreProtocol as SkeinoProtocol
from skeino.persistence.base import RunRow as SkeinoRunRow
from skeino.persistence.base import ThreadRow as SkeinoThreadRow
from skeino.persistence.sqlite_store import SqliteMetadataStore
from skeino.schemas import ThreadSearchRequest, ThreadTtlConfig
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from tests.persistence.stores import SHARED_KINDS, Opened, name, run, thread
from tests.support.databases import on_connection
from threadlog.models import AppRun, AppThread, server_metadata
from threadlog.persistence import (
    InMemoryMetadataStore,
    MetadataStore,
    MetadataStoreProtocol,
    RunRow,
    ThreadRow,
)

TIMES = {"created_at", "updated_at", "state_updated_at"}


@pytest.fixture
async def skeinos(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Opened]:
    """Yield skeino's own store on an SQLite file of its own."""
    path = tmp_path_factory.mktemp("skeino") / "skeino.db"
    async with SHARED_KINDS["skeino-sqlite"](f"sqlite:///{path}") as opened:
        yield opened


def without_times(value: Any) -> Any:
    """Leave the times of rows out, but for whether there is one."""
    if isinstance(value, list):
        return [without_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: isinstance(each, datetime) for key, each in value.items() if key in TIMES}
    rest = {key: each for key, each in value.items() if key not in TIMES}
    if rest.get("ttl"):
        rest["ttl"] = {**rest["ttl"], "expires_at": type(rest["ttl"]["expires_at"])}
    return {**rest, **plain}


async def played(store: Any, seed: int) -> list[Any]:
    """Call two hundred methods, chosen by the seed, and return each result."""
    chosen = random.Random(seed)
    ids = [str(uuid5(UUID(int=seed), str(number))) for number in range(12)]
    owner = {run_id: chosen.choice(ids[:4]) for run_id in ids[4:]}
    seen: list[Any] = []
    for _ in range(200):
        move = chosen.choice(MOVES)
        thread_id, run_id = chosen.choice(ids[:4]), chosen.choice(ids[4:])
        given = await move(store, chosen, thread_id, run_id, owner[run_id])
        seen.append((move.__name__, without_times(given)))
        await asyncio.sleep(0.0002)  # skeino sorts by time alone
    return seen


def values_of(chosen: random.Random) -> dict[str, Any]:
    """Return random metadata."""
    return {"n": chosen.randrange(5), "l": [None, True, 1.5], "o": {"ü": "😀"}}


def status_of(chosen: random.Random) -> str:
    """Return a random status of a thread."""
    return chosen.choice(["idle", "busy", "interrupted", "error"])


async def create(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Create a thread unless it exists."""
    ttl = ThreadTtlConfig(ttl=chosen.choice([None, 5.0]), strategy="keep_latest")
    return await store.create_thread(
        thread, metadata=values_of(chosen), config={}, ttl=ttl, if_exists="do_nothing"
    )


async def describe(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Replace the metadata of a thread."""
    return await store.update_thread(thread, metadata=values_of(chosen))


async def settle(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Replace the rest of a thread."""
    return await store.update_thread(
        thread,
        status_value=status_of(chosen),
        config=values_of(chosen),
        mark_state_updated=True,
    )


async def search(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Search by status."""
    request = ThreadSearchRequest(status=status_of(chosen), limit=3)
    return await store.search_thread_rows(request)


async def search_ids(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Search by ids."""
    request = ThreadSearchRequest(ids=[UUID(thread), UUID(owner)], sort_order="asc")
    return await store.search_thread_rows(request)


async def begin(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Create a run, where skeino has no error of its own."""
    exists = await store.fetch_run_row(owner, run) is not None
    if exists or await store.fetch_thread_row(owner) is None:
        return None
    return await store.create_run(run, owner, "agent", values_of(chosen), {}, "enqueue")


async def move_on(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Set the status of a run."""
    status = chosen.choice(["running", "running", "success", "error", "interrupted"])
    return await store.update_run_status(run, status, error=chosen.choice([None, "because"]))


async def list_runs(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """List runs."""
    offset = chosen.randrange(2)
    return await store.list_run_rows(owner, limit=3, offset=offset, status_value=None)


async def fetch(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Fetch a run, maybe of another thread, and a thread."""
    return [await store.fetch_run_row(thread, run), await store.fetch_thread_row(thread)]


async def delete(store: Any, chosen: random.Random, thread: str, run: str, owner: str) -> Any:
    """Delete a run, maybe of another thread, or now and then a thread."""
    if chosen.random() < 0.3:
        return await store.delete_thread(thread)
    return await store.delete_run(thread, run)


MOVES = [
    *(create, create, describe, settle, search, search_ids),
    *(begin, begin, begin, move_on, list_runs, fetch, delete),
]


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_inputs_give_the_same_rows(
    opened: Opened, skeinos: Opened, seed: int
) -> None:
    """Ours behave as skeino's own store does, row by row, but for what time it is."""
    assert await played(opened.store, seed) == await played(skeinos.store, seed)


async def test_both_kinds_fit_both_protocols(opened: Opened) -> None:
    """Skeino takes ours for a store, at run time and, as this file is checked, before."""
    assert isinstance(opened.store, SkeinoProtocol)
    assert isinstance(opened.store, MetadataStoreProtocol)
    stores: list[MetadataStoreProtocol] = [InMemoryMetadataStore(), MetadataStore("sqlite://")]
    skeinos: list[SkeinoProtocol] = [InMemoryMetadataStore(), MetadataStore("sqlite://")]
    assert len(stores) == len(skeinos)


def test_rows_have_skeinos_keys() -> None:
    assert set(ThreadRow.__annotations__) == set(SkeinoThreadRow.__annotations__)
    assert set(RunRow.__annotations__) == set(SkeinoRunRow.__annotations__)


def test_we_have_all_of_skeinos_methods() -> None:
    """Our protocol has every method of skeino's, and the ones beyond it."""

    def methods(protocol: type) -> set[str]:
        return {name for name in vars(protocol) if not name.startswith("_")}

    beyond = {"release_busy_thread", "expire_threads", "aclose"}
    assert methods(MetadataStoreProtocol) == methods(SkeinoProtocol) | beyond


async def test_a_file_of_skeinos_can_be_read(sqlite_url: str) -> None:
    """The ORM classes read rows which skeino's own store wrote: times, JSON, NULLs."""
    theirs = SqliteMetadataStore(sqlite_url.removeprefix("sqlite:///"))
    await theirs.setup()
    thread_id = await thread(theirs, metadata={"ü": [1.5]}, ttl=ThreadTtlConfig(ttl=5.0))
    other = await thread(theirs)
    run_id = await run(theirs, thread_id)
    await theirs.update_run_status(run_id, "error", error="because")
    await theirs.update_thread(thread_id, mark_state_updated=True)
    row = await theirs.fetch_thread_row(thread_id)
    run_row = await theirs.fetch_run_row(thread_id, run_id)
    await theirs.aclose()
    engine = create_engine(sqlite_url)
    with Session(engine) as session:
        stored = session.get_one(AppThread, UUID(thread_id))
        assert {key: getattr(stored, key) for key in row if key != "metadata"} == {
            key: value for key, value in row.items() if key != "metadata"
        }
        assert stored.metadata_ == row["metadata"]
        assert session.get_one(AppThread, UUID(other)).ttl is None
        found = session.scalars(select(AppRun)).one()
        assert {key: getattr(found, key) for key in run_row if key != "metadata"} == {
            key: value for key, value in run_row.items() if key != "metadata"
        }
    engine.dispose()


async def test_a_file_of_skeinos_becomes_ours_with_what_is_missing(sqlite_url: str) -> None:
    """Such a file is a store of ours once it has the other tables and the version."""
    theirs = SqliteMetadataStore(sqlite_url.removeprefix("sqlite:///"))
    await theirs.setup()
    thread_id = await thread(theirs, metadata={"user": "ü"}, ttl=ThreadTtlConfig(ttl=0.0))
    kept = await thread(theirs, metadata={"user": "ü"}, ttl=ThreadTtlConfig(ttl=5.0))
    run_id = await run(theirs, thread_id)
    rows = [await theirs.fetch_thread_row(one) for one in (thread_id, kept)]
    run_row = await theirs.fetch_run_row(thread_id, run_id)
    await theirs.aclose()

    def complete(connection: Any) -> None:
        server_metadata.create_all(connection)

    await on_connection(sqlite_url, complete)
    async with MetadataStore(sqlite_url) as ours:
        assert [await ours.fetch_thread_row(one) for one in (thread_id, kept)] == rows
        assert await ours.fetch_run_row(thread_id, run_id) == run_row
        await ours.fail_stale_runs(stale_after_seconds=0, exclude_run_ids=(), error="gone")
        assert await ours.update_run_status(run_id, "success") is False
        assert [str(one.thread_id) for one in await ours.expire_threads()] == [thread_id]
        assert await ours.fetch_thread_row(kept) == rows[1]
        new = name()
        await thread(ours, new)
        assert await ours.fetch_thread_row(new) is not None
