"""The plug-in, in the process of the test: what it adds to skeino, and what it needs of it."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, TypedDict, cast

import pytest
import skeino.app
import skeino.langgraph_json
import skeino.persistence
import skeino.persistence.checkpointer
from fastapi import FastAPI
from langgraph.graph import START, StateGraph
from skeino import SkeinoSettings, create_app

import threadlog.skeino
from tests.persistence.skeino.servers import scheme_of
from threadlog.errors import ConfigurationError
from threadlog.graph.client import GraphClient
from threadlog.langgraph import Saver
from threadlog.persistence import MetadataStoreProtocol
from threadlog.runtime.client import EngineClient

BUILDERS: dict[str, Any] = skeino.persistence.checkpointer._REGISTRY
STORES: dict[str, Any] = skeino.app._NATIVE_METADATA_STORES


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    """Restore skeino to its state without the plug-in, before and after the test."""
    before = [(registry, dict(registry)) for registry in (BUILDERS, STORES)]
    for registry, _ in before:
        for scheme in ("mysql", "mariadb"):
            registry.pop(scheme, None)
    yield
    for registry, builders in before:
        registry.clear()
        registry.update(builders)


class Nothing(TypedDict):
    """The state of a graph without channels."""


def application(url: str, **options: Any) -> FastAPI:
    """Create an application whose graph does nothing."""

    def build(checkpointer: Any) -> Any:
        graph = StateGraph(Nothing)
        graph.add_node("nothing", lambda state: state)
        graph.add_edge(START, "nothing")
        return graph.compile(checkpointer=checkpointer)

    settings = SkeinoSettings(
        checkpointer_scheme=scheme_of(url), checkpointer_uri=url, checkpointer_options=options
    )
    app: FastAPI = create_app(graphs={"nothing": build}, settings=settings)
    return app


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[tuple[GraphClient, GraphClient]]:
    """Run an application's start and end; yield the clients of its saver and store."""
    async with app.router.lifespan_context(app):
        ops = app.state.skeino.thread_ops
        saver, store = ops._graph.checkpointer, ops._metadata_store
        assert isinstance(saver, Saver)
        assert isinstance(store, MetadataStoreProtocol)
        assert isinstance(saver._slot.client, GraphClient)
        yield saver._slot.client, store._client  # type: ignore[attr-defined]  # it is ours


def test_without_it_skeino_knows_no_mysql() -> None:
    """The tests below begin where skeino is."""
    assert not {"mysql", "mariadb"} & (BUILDERS.keys() | STORES.keys())


def test_registering_adds_two_schemes_and_replaces_mongodb_and_no_other() -> None:
    before = [dict(BUILDERS), dict(STORES)]
    replaced = {"mongodb", "mongo"}
    for _ in range(2):
        threadlog.skeino.register()
        for registry, own in zip((BUILDERS, STORES), before, strict=True):
            assert registry.keys() - own.keys() == {"mysql", "mariadb"}
            changed = {scheme for scheme in own if registry[scheme] is not own[scheme]}
            assert changed == replaced


async def test_an_application_has_one_engine(innodb_database: str) -> None:
    """Checkpoints and rows share a pool, whose size is an option."""
    threadlog.skeino.register()
    app = application(innodb_database, max_pool_size=3)
    async with started(app) as (checkpoints, rows):
        assert checkpoints.operations is rows.operations
        own = cast("EngineClient", checkpoints._client)
        assert own.writing_size.most + own.reading_size.most == 3
    assert not checkpoints.is_open


async def test_each_application_has_its_own_engine(innodb_database: str) -> None:
    threadlog.skeino.register()
    first, second = application(innodb_database), application(innodb_database)
    async with started(first) as (one, rows_of_one):
        async with started(second) as (two, rows_of_two):
            assert one.operations is not two.operations
            assert rows_of_one.operations is one.operations
            assert rows_of_two.operations is two.operations
        assert one.is_open


async def test_an_unknown_option_ends_the_start(innodb_database: str) -> None:
    """Skeino's own name of one is not taken for ours and left out."""
    threadlog.skeino.register()
    with pytest.raises(ConfigurationError, match=r"'pool_max_size'\. It takes: max_pool_size"):
        async with started(application(innodb_database, pool_max_size=3)):
            pass


def test_a_metadata_store_alone_is_refused() -> None:
    """A skeino that no longer opens the checkpointer first is noticed."""
    threadlog.skeino.register()
    with pytest.raises(ConfigurationError, match="opened before the metadata store"):
        STORES["mysql"]("mysql://host/database")


def no_store(settings: Any) -> object:
    """Resolve a metadata store as a later skeino might."""
    return object()


def refusing(settings: Any) -> None:
    """Refuse every scheme."""
    raise ValueError("no")


def other_create_app(**how: Any) -> None:
    """Stand for a `create_app` of another signature."""


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (skeino.persistence, "register_checkpointer", None),
        (skeino.persistence, "open_checkpointer", None),
        (skeino.app, "_NATIVE_METADATA_STORES", None),
        (skeino.app, "_NATIVE_METADATA_STORES", ()),
        (skeino.app, "_resolve_metadata_store", None),
        (skeino.app, "_resolve_metadata_store", no_store),
        (skeino.app, "_check_metadata_durability", None),
        (skeino.app, "_check_metadata_durability", refusing),
        (skeino.app, "open_checkpointer", None),
        (skeino.app, "open_checkpointer", no_store),
        (skeino.app, "create_app", None),
        (skeino.app, "create_app", other_create_app),
        (skeino.app, "SkeinoSettings", None),
    ],
)
def test_what_is_gone_is_named(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any
) -> None:
    if value is None:
        monkeypatch.delattr(module, name)
    else:
        monkeypatch.setattr(module, name, value)
    with pytest.raises(ConfigurationError, match=f"skeino {version('skeino')} lacks"):
        threadlog.skeino.register()
    assert "mysql" not in BUILDERS
    assert not {"mysql", "threadlog-probe"} & STORES.keys()


WITHOUT = """
import sys, threadlog.skeino

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
threadlog.skeino.register()
"""


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ("skeino", "MissingExtraError: The package 'skeino' is not installed"),
        ("skeino.app", "ConfigurationError: skeino 4.0.0 lacks"),
        ("langgraph", "MissingExtraError: The package 'langgraph' is not installed"),
    ],
)
@pytest.mark.processes
def test_a_missing_package_is_named(missing: str, error: str) -> None:
    command = [sys.executable, "-c", WITHOUT, missing]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert error in last, done.stderr
    assert ("pip install 'threadlog[skeino]'" in last) is ("Extra" in error)


def test_a_manifests_uri_names_the_scheme() -> None:
    manifest = {"store": {"uri": "mysql://host/database"}}
    settings = skeino.langgraph_json._settings_from_manifest(manifest, overrides=None)
    assert settings.checkpointer_scheme == "mysql"
    assert settings.checkpointer_uri == "mysql://host/database"
