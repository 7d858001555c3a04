"""The checkpointer and the metadata store that a page of the documentation writes."""

import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from tests.persistence.registering import registries_restored
from tests.support.scripts.docs_page import blocks
from threadlog.errors import (
    ConfigurationError,
    RunAlreadyExistsError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.persistence import (
    MetadataStoreProtocol,
    PersistenceSettings,
    ThreadSearch,
    ThreadTtl,
    open_checkpointer,
    open_persistence,
)

PAGE = Path(__file__).parent.parent.parent / "docs" / "custom-persistence.md"
MODULES = ["folder_saver", "folder_store", "folder_scheme"]


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Yield after importing the page's files and registering its scheme."""
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with registries_restored():
        importlib.import_module("folder_scheme")
        yield
    for module in MODULES:
        del sys.modules[module]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Return the path of a folder that does not exist yet."""
    return str(tmp_path / "agents")


async def test_the_saver_conforms(folder: str) -> None:

    async def factory() -> AsyncIterator[Any]:
        async with open_checkpointer(f"{folder}/{uuid4()}", scheme="folder") as saver:
            yield saver

    report = await validate(checkpointer_test(name="folder")(factory))
    results = report.results
    assert {name: result.failures for name, result in results.items() if result.failures} == {}
    assert {"put", "put_writes", "get_tuple", "list", "delete_thread"} <= {
        name for name, result in results.items() if result.passed
    }


async def test_the_store_keeps_its_promises(folder: str) -> None:
    settings = PersistenceSettings(checkpointer_scheme="folder", checkpointer_uri=folder)
    thread_id, other, run_id, second = (str(uuid4()) for _ in range(4))
    new: Any = {"metadata": {"a": 1}, "config": {}, "ttl": None, "if_exists": "raise"}
    async with open_persistence(settings) as persistence:
        store = persistence.metadata_store
        assert isinstance(store, MetadataStoreProtocol)
        made = await store.create_thread(thread_id, **new)
        with pytest.raises(ThreadAlreadyExistsError):
            await store.create_thread(thread_id, **new)
        made["metadata"]["a"] = 2
        same = await store.create_thread(thread_id, **new | {"if_exists": "do_nothing"})
        assert same["metadata"] == {"a": 1}, "what was given back is the caller's"
        await store.update_thread(thread_id)
        assert await store.fetch_thread_row(thread_id) == same, "nothing to change"
        await store.update_thread(thread_id, metadata={"b": 1}, mark_state_updated=True)
        with pytest.raises(ThreadNotFoundError):
            await store.create_run(run_id, other, "work", {}, {}, "reject")
        await store.create_run(run_id, thread_id, "work", {}, {}, "reject")
        with pytest.raises(RunAlreadyExistsError):
            await store.create_run(run_id, thread_id, "work", {}, {}, "reject")
        await store.create_run(second, thread_id, "work", {}, {}, "reject")
        assert await store.update_run_status(run_id, "success")
        assert not await store.update_run_status(run_id, "error")
        before = (await store.fetch_thread_row(thread_id), await runs(store, thread_id))
    async with open_persistence(settings) as persistence:
        store = persistence.metadata_store
        assert (await store.fetch_thread_row(thread_id), await runs(store, thread_id)) == before
        assert [str(run["run_id"]) for run in before[1]] == [second, run_id]
        sweep: Any = {"stale_after_seconds": -1, "error": "gone"}
        assert await store.fail_stale_runs(**sweep, exclude_run_ids=[second]) == []
        failed = await store.fail_stale_runs(**sweep, exclude_run_ids=[])
        assert [(str(run["run_id"]), run["error"]) for run in failed] == [(second, "gone")]
        assert await store.fail_stale_runs(**sweep, exclude_run_ids=[]) == []
        await store.update_thread(thread_id, status_value="busy")
        assert await store.release_busy_thread(thread_id)
        assert not await store.release_busy_thread(thread_id)
        found = await store.search_thread_rows(ThreadSearch(metadata={"b": 1}, status="error"))
        assert [str(row["thread_id"]) for row in found] == [thread_id]
        assert await store.search_thread_rows(ThreadSearch(metadata={"a": 1})) == []
        await store.create_thread(other, **new | {"ttl": ThreadTtl(0)})
        assert [str(each.thread_id) for each in await store.expire_threads()] == [other]
        await store.delete_thread(thread_id)
        assert await runs(store, thread_id) == []


async def runs(store: MetadataStoreProtocol, thread_id: str) -> list[Any]:
    """Return the runs of a thread."""
    return [*await store.list_run_rows(thread_id, limit=9, offset=0, status_value=None)]


async def test_the_schemes_errors_are_ours() -> None:
    with pytest.raises(ConfigurationError, match="needs a URI, such as /data/agents"):
        async with open_checkpointer(scheme="folder"):
            pass
    with pytest.raises(ConfigurationError, match="does not know the option 'a'"):
        async with open_checkpointer("x", scheme="folder", options={"a": 1}):
            pass
