"""Opening a store, and creating its tables."""

import asyncio

import pytest

from tests.store.ways import Way
from tests.support.databases import execute
from tests.support.schemas import differences, tables
from tests.support.ways import open_engine
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaMismatch,
    CubepiSchemaUninitialized,
    NotOpenError,
)
from threadlog.langgraph import Saver, Store
from threadlog.models import GRAPH, STORE


async def test_setup_creates_the_tables_and_no_others(empty_url: str) -> None:
    async with Store(empty_url) as store:
        await store.setup()
        await store.setup()
        await store.aput(("a",), "k", {"x": 1})
    assert await differences(empty_url, STORE) == []
    bookkeeping = set() if empty_url.startswith("sqlite") else {STORE.revision_table}
    assert await tables(empty_url) == STORE.tables | bookkeeping


async def test_missing_tables_are_named(server_database: str) -> None:
    async with Store(server_database) as store:
        with pytest.raises(CubepiSchemaUninitialized, match=r"memory store.*threadlog migrate"):
            await store.aget(("a",), "k")


@pytest.mark.one_database
async def test_tables_of_another_version_are_refused(store_url: str) -> None:
    async with Store(store_url) as store:
        await store.setup()
    await execute(store_url, f"UPDATE {STORE.version_table} SET version = 2")
    async with Store(store_url) as store:
        with pytest.raises(CubepiSchemaMismatch, match="newer than this release"):
            await store.aget(("a",), "k")


@pytest.mark.one_database
async def test_methods_outside_and_of_the_other_kind_are_refused(store_url: str) -> None:
    store = Store(store_url)
    with pytest.raises(NotOpenError):
        await store.aget(("a",), "k")
    async with store:
        with pytest.raises(NotOpenError, match="asynchronous methods"):
            store.get(("a",), "k")
        with pytest.raises(ConfigurationError, match="entered already"):
            await store.__aenter__()
        assert await asyncio.to_thread(store.get, ("a",), "k") is None
    with store, pytest.raises(NotOpenError, match=r"Store .* was entered with 'with'"):
        await store.aget(("a",), "k")
    assert repr(store).startswith("<Store ")
    assert repr(store).endswith(" closed>")


@pytest.mark.one_database
async def test_a_saver_and_a_store_share_an_engine(empty_url: str) -> None:
    async with (
        open_engine(empty_url, STORE) as engine,
        Saver(engine=engine) as saver,
        Store(engine=engine) as store,
    ):
        await saver.setup()
        await store.setup()
        await store.aput(("a",), "k", {"x": 1})
        assert await store.aget(("a",), "k") is not None
    assert await tables(empty_url) >= STORE.tables | GRAPH.tables


@pytest.mark.one_database
async def test_two_hundred_labels_and_long_names_are_stored(way: Way) -> None:
    namespace = tuple(f"label {number}" for number in range(200))
    await way.call("put", namespace, "k" * 10_000, {"x": 1})
    (item,) = await way.call("search", namespace[:150])
    assert (item.namespace, item.key) == (namespace, "k" * 10_000)
    assert await way.call("list_namespaces", max_depth=3) == [namespace[:3]]
