"""Opening checkpointer and metadata store of one scheme together, as the settings say."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import make_url, text

from tests.persistence.registering import package_is_missing, registries_restored
from tests.support.databases import on_connection
from tests.support.patience import patience
from threadlog.errors import ConfigurationError, CubepiSchemaError, MissingExtraError
from threadlog.langgraph import Saver, Store
from threadlog.persistence import (
    CheckpointerSpec,
    InMemoryMetadataStore,
    MetadataStore,
    Persistence,
    PersistenceSettings,
    ThreadTtl,
    open_persistence,
    register_checkpointer,
    register_metadata_store,
)

SECRET = "s3cr3t"  # noqa: S105 - made up
VARIABLES = ["SCHEME", "URI", "OPTIONS"]


@pytest.fixture(autouse=True)
def undo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test registers; have no setting in the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(f"THREADLOG_CHECKPOINTER_{name}", raising=False)
    monkeypatch.delenv("THREADLOG_ALLOW_EPHEMERAL_METADATA", raising=False)
    with registries_restored():
        yield


@pytest.fixture
def settings(empty_url: str) -> PersistenceSettings:
    """Return settings with an empty database of threadlog's, one kind after the other."""
    scheme = make_url(empty_url).get_backend_name()
    return PersistenceSettings(checkpointer_scheme=scheme, checkpointer_uri=empty_url)


async def thread(persistence: Persistence, ttl: ThreadTtl | None = None) -> str:
    """Create a thread with a checkpoint; return its id."""
    thread_id = str(uuid4())
    await persistence.metadata_store.create_thread(
        thread_id, metadata={}, config={}, ttl=ttl, if_exists="raise"
    )
    config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    await persistence.checkpointer.aput(config, empty_checkpoint(), {}, {})
    return thread_id


async def halves(persistence: Persistence, thread_id: str) -> tuple[bool, bool]:
    """Return whether a thread's checkpoint and its row exist."""
    config: Any = {"configurable": {"thread_id": thread_id}}
    row = await persistence.metadata_store.fetch_thread_row(thread_id)
    return await persistence.checkpointer.aget(config) is not None, row is not None


async def refused(settings: PersistenceSettings) -> str:
    """Check that settings cannot be opened; return the error's text."""
    with pytest.raises(ConfigurationError) as caught:
        async with open_persistence(settings):
            pass
    assert SECRET not in str(caught.value)
    return str(caught.value)


@asynccontextmanager
async def durable(spec: CheckpointerSpec) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Open what passes for durable."""
    yield InMemorySaver()


# --- Both of one scheme ------------------------------------------------------------


async def test_both_are_of_one_scheme(settings: PersistenceSettings) -> None:
    async with open_persistence(settings) as persistence:
        assert isinstance(persistence.checkpointer, Saver)
        assert isinstance(persistence.metadata_store, MetadataStore)
        thread_id = await thread(persistence)
    async with open_persistence(settings) as persistence:
        assert await halves(persistence, thread_id) == (True, True)


async def test_a_memory_store_is_opened_beside_both(settings: PersistenceSettings) -> None:
    for _ in range(2):
        async with open_persistence(settings) as persistence:
            assert isinstance(persistence.store, Store)
            await persistence.store.aput(("a",), "k", {"x": 1})
            thread_id = await thread(persistence)
            assert await halves(persistence, thread_id) == (True, True)
            assert await persistence.store.aget(("a",), "k") is not None


async def test_both_are_on_one_engine(innodb_database: str) -> None:
    """They share the pool: all connections to the server, with both at work."""
    settings = PersistenceSettings(
        checkpointer_scheme=make_url(innodb_database).get_backend_name(),
        checkpointer_uri=innodb_database,
        checkpointer_options={"max_pool_size": 3},
    )
    name = make_url(innodb_database).database
    query = text("SELECT COUNT(*) FROM information_schema.processlist WHERE db = :name")
    async with open_persistence(settings) as persistence:
        ids = await asyncio.gather(*(thread(persistence) for _ in range(30)))
        memories: Any = persistence.store
        await asyncio.gather(*(memories.aput(("a",), each, {}) for each in ids))
        await asyncio.gather(*(halves(persistence, each) for each in ids))
        taken = await on_connection(
            make_url(innodb_database).set(database="information_schema"),
            lambda c: c.scalar(query, {"name": name}),
        )
        assert taken == 3
        saver: Any = persistence.checkpointer
        store: Any = persistence.metadata_store
        assert saver._slot.client.operations is store._client.operations


async def test_memory_is_the_default() -> None:
    async with open_persistence(PersistenceSettings()) as persistence:
        assert isinstance(persistence.checkpointer, InMemorySaver)
        assert isinstance(persistence.metadata_store, InMemoryMetadataStore)
        assert await halves(persistence, await thread(persistence)) == (True, True)


async def test_tables_are_not_made_unless_wanted(innodb_database: str) -> None:
    settings = PersistenceSettings(
        checkpointer_scheme=make_url(innodb_database).get_backend_name(),
        checkpointer_uri=innodb_database,
        checkpointer_options={"setup_schema": False},
        ttl_sweep_seconds=None,
    )
    async with open_persistence(settings) as persistence:
        with pytest.raises(CubepiSchemaError):
            await persistence.metadata_store.fetch_thread_row(str(uuid4()))


async def test_a_half_of_ones_own_is_taken(sqlite_url: str) -> None:
    """Registering one for a scheme of ours replaces it in the pair, too."""
    specs: list[CheckpointerSpec] = []
    settings = PersistenceSettings(checkpointer_scheme="sqlite", checkpointer_uri=sqlite_url)

    @register_metadata_store("sqlite")
    @asynccontextmanager
    async def build(spec: CheckpointerSpec) -> AsyncIterator[InMemoryMetadataStore]:
        specs.append(spec)
        yield InMemoryMetadataStore()

    async with open_persistence(settings) as persistence:
        assert isinstance(persistence.metadata_store, InMemoryMetadataStore)
        assert isinstance(persistence.checkpointer, Saver)
    assert specs == [CheckpointerSpec("sqlite", sqlite_url, {"setup_schema": True})]


# --- No split-brain ----------------------------------------------------------------


async def test_a_durable_scheme_needs_a_metadata_store() -> None:
    opened = []

    @register_checkpointer("mydb")
    @asynccontextmanager
    async def build(spec: CheckpointerSpec) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        opened.append(spec)
        yield InMemorySaver()

    error = await refused(PersistenceSettings(checkpointer_scheme="MyDB"))
    assert "The scheme 'mydb' has a checkpointer but no metadata store" in error
    assert "register_metadata_store()" in error
    assert "allow_ephemeral_metadata=True" in error
    assert opened == []


async def test_redis_has_no_metadata_store(monkeypatch: pytest.MonkeyPatch) -> None:
    package_is_missing(monkeypatch, "redis")
    uri = f"redis://:{SECRET}@h/d"
    settings = PersistenceSettings(checkpointer_scheme="redis", checkpointer_uri=uri)
    assert "no metadata store" in await refused(settings)
    with pytest.raises(MissingExtraError):
        async with open_persistence(settings.model_copy(update={"allow_ephemeral_metadata": True})):
            pass


async def test_ephemeral_metadata_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    register_checkpointer("mydb")(durable)
    monkeypatch.setenv("THREADLOG_ALLOW_EPHEMERAL_METADATA", "true")
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_SCHEME", "mydb")
    async with open_persistence(PersistenceSettings()) as persistence:
        assert isinstance(persistence.metadata_store, InMemoryMetadataStore)


async def test_a_registered_metadata_store_is_enough() -> None:
    """A scheme of one's own is complete with both."""
    register_checkpointer("mydb")(durable)
    store = InMemoryMetadataStore()

    @register_metadata_store("MYDB")
    @asynccontextmanager
    async def build(spec: CheckpointerSpec) -> AsyncIterator[InMemoryMetadataStore]:
        yield store

    async with open_persistence(PersistenceSettings(checkpointer_scheme="mydb")) as persistence:
        assert persistence.metadata_store is store


# --- Time to live ------------------------------------------------------------------


async def gone(persistence: Persistence, thread_id: str) -> None:
    """Wait until neither half of a thread is there."""
    async with patience():
        while True:
            if await halves(persistence, thread_id) == (False, False):
                return
            await asyncio.sleep(0.02)


async def test_threads_expire(settings: PersistenceSettings) -> None:
    swift = settings.model_copy(update={"ttl_sweep_seconds": 0.05})
    async with open_persistence(swift) as persistence:
        kept = await thread(persistence, ThreadTtl(60))
        await gone(persistence, await thread(persistence, ThreadTtl(0.001)))
        assert await halves(persistence, kept) == (True, True)


@pytest.mark.parametrize("strategy", ["delete", "keep_latest"])
async def test_threads_expire_in_memory_too(strategy: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "threadlog")
    async with open_persistence(PersistenceSettings(ttl_sweep_seconds=0.05)) as persistence:
        thread_id = await thread(persistence, ThreadTtl(0.001, strategy))
        if strategy == "delete":
            await gone(persistence, thread_id)
        else:
            async with patience():
                while "Expired 1 threads." not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
                    await asyncio.sleep(0.02)
            assert await halves(persistence, thread_id) == (True, True)
    assert "Expired 1 threads." in caplog.text
    assert "failed" not in caplog.text


async def test_there_may_be_no_sweep() -> None:
    async with open_persistence(PersistenceSettings(ttl_sweep_seconds=None)) as persistence:
        thread_id = await thread(persistence, ThreadTtl(0.0))
        await asyncio.sleep(0.2)
        assert await halves(persistence, thread_id) == (True, True)


async def test_a_store_without_expiry_is_not_swept(caplog: pytest.LogCaptureFixture) -> None:

    class Bare:
        """A store that can do nothing."""

    @register_metadata_store("memory")
    @asynccontextmanager
    async def build(spec: CheckpointerSpec) -> AsyncIterator[Any]:
        yield Bare()

    async with open_persistence(PersistenceSettings(ttl_sweep_seconds=0.01)):
        await asyncio.sleep(0.1)
    assert caplog.records == []


# --- Settings ----------------------------------------------------------------------


async def test_a_uri_alone_selects_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_URI", f"mysql://root:{SECRET}@h/d")
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_SCHEME", "")
    async with open_persistence(PersistenceSettings()) as persistence:
        assert isinstance(persistence.checkpointer, InMemorySaver)
    (warning,) = caplog.messages
    assert "without a scheme is ignored" in warning
    assert SECRET not in warning


async def test_memory_ignores_a_uri(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheme alone decides, without a warning to whoever chose it."""
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_URI", "mysql://h/d")
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_SCHEME", "memory")
    async with open_persistence(PersistenceSettings()) as persistence:
        assert isinstance(persistence.checkpointer, InMemorySaver)
    assert caplog.messages == []


async def test_an_unknown_scheme_is_refused() -> None:
    """The missing metadata store is not blamed for it."""
    error = await refused(PersistenceSettings(checkpointer_scheme="mysqll"))
    assert "no checkpointer for the scheme 'mysqll'" in error


@pytest.mark.parametrize("option", ["max_pool", "ttl_sweep_seconds"])
async def test_an_unknown_option_is_refused(settings: PersistenceSettings, option: str) -> None:
    """The pair looks at the options as each half does."""
    wrong = settings.model_copy(update={"checkpointer_options": {option: 3}})
    assert f"does not know the option {option!r}" in await refused(wrong)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_SCHEME", "mysql")
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_URI", "mysql://h/d")
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_OPTIONS", '{"max_pool_size": 5}')
    monkeypatch.setenv("THREADLOG_ALLOW_EPHEMERAL_METADATA", "1")
    monkeypatch.setenv("THREADLOG_TTL_SWEEP_SECONDS", "7.5")
    settings = PersistenceSettings()
    assert settings.checkpointer_uri is not None
    assert settings.checkpointer_uri.get_secret_value() == "mysql://h/d"
    assert settings.model_dump(exclude={"checkpointer_uri"}) == {
        "checkpointer_scheme": "mysql",
        "checkpointer_options": {"max_pool_size": 5},
        "allow_ephemeral_metadata": True,
        "ttl_sweep_seconds": 7.5,
    }


def test_settings_show_no_password() -> None:
    settings = PersistenceSettings(
        checkpointer_uri=f"mysql://root:{SECRET}@h/d", checkpointer_options={"key": SECRET}
    )
    for shown in (
        repr(settings),
        str(settings),
        settings.model_dump_json(include={"checkpointer_uri"}),
    ):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"checkpointer_uri": [f"mysql://root:{SECRET}@h/d"]},
        {"checkpointer_options": [SECRET]},
        {"checkpointer_sheme": SECRET},
        {"ttl_sweep_seconds": 0},
        {"ttl_sweep_seconds": float("nan")},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        PersistenceSettings(**wrong)
    assert SECRET not in str(caught.value)


def test_options_that_are_no_json_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and its value not repeated."""
    monkeypatch.setenv("THREADLOG_CHECKPOINTER_OPTIONS", f'{{"key": "{SECRET}"')
    with pytest.raises(SettingsError, match="checkpointer_options") as caught:
        PersistenceSettings()
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"


# --- Without extras ----------------------------------------------------------------

WITHOUT = """
import asyncio, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from threadlog.persistence import *
print("imported")
"""
NAMES = (
    "from threadlog.persistence import MetadataStore, CheckpointerSpec, register_checkpointer, "
    "register_metadata_store, open_checkpointer, open_persistence"
)
OPEN = """
async def main():
    async with open_checkpointer({}):
        pass
asyncio.run(main())
"""


def without(packages: str, code: str) -> str:
    """Run code in an environment without some packages; return the last line of its output."""
    script = WITHOUT.replace("from threadlog.persistence import *", NAMES) + code
    done = subprocess.run(
        [sys.executable, "-c", script, packages], capture_output=True, text=True, check=False
    )
    assert done.stdout == "imported\n", done.stderr
    return done.stderr.strip().splitlines()[-1] if done.stderr else ""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from threadlog.persistence import PersistenceSettings", "langgraph"),
        ("import threadlog.persistence as p; p.PersistenceSettings", "langgraph"),
        (OPEN.format(""), "langgraph"),
        (OPEN.format("'x.db', scheme='sqlite'"), "langgraph"),
        (OPEN.format("'mongodb://h', scheme='mongodb'"), "mongodb"),
        (OPEN.format("'redis://h', scheme='redis'"), "redis"),
    ],
)
@pytest.mark.processes
def test_a_missing_extra_is_named(code: str, extra: str) -> None:
    """Importing needs no extra, and using one names it."""
    last = without("langgraph langchain_core pydantic_settings alembic", code)
    assert last.startswith("threadlog.errors.MissingExtraError: The package ")
    assert last.endswith(f"pip install 'threadlog[{extra}]'")


@pytest.mark.processes
def test_importing_loads_no_extra() -> None:
    """Neither package pays for what it may not need."""
    code = (
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "wrong = loaded & {'langgraph', 'langchain_core', 'pydantic_settings', 'alembic'}\n"
        "assert not wrong, wrong"
    )
    assert without("", code) == ""
