"""Registering schemes, and opening a checkpointer by one."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from tests.persistence.registering import package_is_missing, registries_restored
from tests.support.databases import SERVERS
from tests.support.matrix import on_each
from threadlog.errors import (
    ConfigurationError,
    CubepiSchemaError,
    MissingExtraError,
    ThreadlogError,
)
from threadlog.langgraph import Saver
from threadlog.persistence import (
    CheckpointerSpec,
    open_checkpointer,
    register_checkpointer,
    register_metadata_store,
)

SECRET = "s3cr3t"  # noqa: S105 - made up
DATABASES = ["sqlite", "sqlite3", "mysql", "mariadb", "postgresql", "postgres"]
ELSEWHERE = {"mongodb": "mongodb", "mongo": "mongodb", "redis": "redis"}
URIS = {
    **dict.fromkeys(["sqlite", "sqlite3"], "sqlite://"),
    "mysql": f"mysql://root:{SECRET}@127.0.0.1:1/none",
    "mariadb": f"mariadb://root:{SECRET}@127.0.0.1:1/none",
    **dict.fromkeys(["postgresql", "postgres"], f"postgresql://root:{SECRET}@127.0.0.1:1/none"),
    **dict.fromkeys(["mongodb", "mongo"], f"mongodb://root:{SECRET}@127.0.0.1:1/shop"),
    "redis": f"redis://:{SECRET}@127.0.0.1:1/0",
}


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    """Undo what a test registers."""
    with registries_restored():
        yield


@pytest.fixture(params=["sqlite", "sqlite3", *on_each(SERVERS)])
def database(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return one of threadlog's schemes, and the URI of an empty database."""
    fixture = f"{request.param}_database" if request.param in SERVERS else "sqlite_url"
    return request.param, request.getfixturevalue(fixture)


async def opened(uri: str | None = None, **how: Any) -> BaseCheckpointSaver[Any]:
    """Open a checkpointer, close it, and give it."""
    async with open_checkpointer(uri, **how) as checkpointer:
        return checkpointer


async def refused(uri: str | None = None, **how: Any) -> str:
    """Check that a checkpointer cannot be opened; return the error's text."""
    with pytest.raises(ConfigurationError) as caught:
        await opened(uri, **how)
    assert SECRET not in repr(caught.value)
    return str(caught.value)


def recording(
    specs: list[CheckpointerSpec],
) -> Callable[[CheckpointerSpec], AbstractAsyncContextManager[InMemorySaver]]:
    """Return a builder that records its requests and its closing."""

    @asynccontextmanager
    async def build(spec: CheckpointerSpec) -> AsyncIterator[InMemorySaver]:
        specs.append(spec)
        try:
            yield InMemorySaver()
        finally:
            specs.append(CheckpointerSpec("closed"))

    return build


async def put(checkpointer: BaseCheckpointSaver[Any], thread_id: str) -> None:
    """Write an empty checkpoint."""
    config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    await checkpointer.aput(config, empty_checkpoint(), {}, {})


async def has(checkpointer: BaseCheckpointSaver[Any], thread_id: str) -> bool:
    """Return True if a thread has a checkpoint."""
    return await checkpointer.aget({"configurable": {"thread_id": thread_id}}) is not None


# --- Registering -------------------------------------------------------------------


async def test_a_builder_gets_what_was_asked_for() -> None:
    specs: list[CheckpointerSpec] = []
    builder = recording(specs)
    assert register_checkpointer("MyDB", "other")(builder) is builder
    await opened("mydb://x", scheme="mydB", options={"a": 1})
    await opened(scheme="OTHER", setup_schema=False)
    assert specs[0] == CheckpointerSpec("mydb", "mydb://x", {"setup_schema": True, "a": 1})
    assert specs[2] == CheckpointerSpec("other", None, {"setup_schema": False})
    assert [specs[1].scheme, specs[3].scheme] == ["closed", "closed"]
    assert (specs[0].setup_schema, specs[2].setup_schema) == (True, False)


async def test_a_saver_is_closed_after_an_error_too() -> None:
    """An error in the block reaches the builder."""
    specs: list[CheckpointerSpec] = []
    register_checkpointer("mydb")(recording(specs))
    with pytest.raises(ZeroDivisionError):
        async with open_checkpointer(scheme="mydb"):
            raise ZeroDivisionError
    assert [spec.scheme for spec in specs] == ["mydb", "closed"]


async def test_registering_again_replaces() -> None:
    first: list[CheckpointerSpec] = []
    last: list[CheckpointerSpec] = []
    register_checkpointer("mydb")(recording(first))
    register_checkpointer("MYDB", "Memory")(recording(last))
    await opened(scheme="mydb")
    await opened()
    assert (len(first), len(last)) == (0, 4)


@pytest.mark.parametrize("register", [register_checkpointer, register_metadata_store])
@pytest.mark.parametrize("schemes", [(), ("",), ("a", ""), (print,), (None,)])
def test_schemes_have_names(register: Any, schemes: tuple[Any, ...]) -> None:
    """None at all, an empty one, and a forgotten pair of parentheses are errors."""
    with pytest.raises(ConfigurationError, match=r"Name the schemes|A scheme is a name"):
        register(*schemes)


def test_a_url_is_no_scheme() -> None:
    """The error does not repeat it."""
    with pytest.raises(ConfigurationError, match="The scheme is a URL") as caught:
        register_checkpointer(URIS["mysql"])
    assert SECRET not in str(caught.value)


def test_a_spec_shows_no_password() -> None:
    spec = CheckpointerSpec("mysql", URIS["mysql"], {"key": SECRET})
    assert repr(spec) == "CheckpointerSpec(scheme='mysql')"


# --- The scheme decides ------------------------------------------------------------


async def test_memory_is_the_default() -> None:
    assert isinstance(await opened(), InMemorySaver)
    serde = JsonPlusSerializer()
    assert (await opened(scheme="Memory", options={"serde": serde})).serde is serde


@pytest.mark.parametrize("uri", ["postgresql://h/d", URIS["mysql"], "file.db", "memory://"])
async def test_a_uri_alone_selects_nothing(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(await opened(uri), InMemorySaver)
    (warning,) = caplog.messages
    assert "without a scheme is ignored" in warning
    assert "THREADLOG_CHECKPOINTER_SCHEME" in warning
    assert uri not in warning


async def test_memory_ignores_a_uri(caplog: pytest.LogCaptureFixture) -> None:
    """The scheme alone decides, without a warning to whoever chose it."""
    assert isinstance(await opened("postgresql://h/d", scheme="memory"), InMemorySaver)
    assert caplog.messages == []


async def test_an_unknown_scheme_is_refused() -> None:
    """The known ones are named, and how to add one."""
    error = await refused("cassandra://h/d", scheme="Cassandra")
    assert "no checkpointer for the scheme 'cassandra'" in error
    known = "mariadb, memory, mongo, mongodb, mysql, postgres, postgresql, redis, sqlite, sqlite3"
    assert known in error
    assert "register_checkpointer()" in error


@pytest.mark.parametrize("scheme", ["", URIS["mysql"], 1])
async def test_what_is_no_scheme_is_refused(scheme: Any) -> None:
    await refused("sqlite://", scheme=scheme)


@pytest.mark.parametrize("scheme", [*DATABASES, *ELSEWHERE])
@pytest.mark.parametrize("uri", [None, ""])
async def test_a_missing_uri_is_refused(scheme: str, uri: str | None) -> None:
    """No scheme makes one up."""
    error = await refused(uri, scheme=scheme)
    assert f"The scheme '{scheme}' needs a URI, such as {URIS[scheme].partition(':')[0]}" in error
    assert "THREADLOG_CHECKPOINTER_URI" in error


@pytest.mark.parametrize("scheme", ["memory", *DATABASES, *ELSEWHERE])
async def test_an_unknown_option_is_refused(scheme: str) -> None:
    """It is named, with those that there are."""
    error = await refused(URIS.get(scheme), scheme=scheme, options={"max_pool": 3})
    assert f"The scheme '{scheme}' does not know the option 'max_pool'" in error
    assert "setup_schema" in error
    assert ("max_pool_size, min_pool_size" in error) is (scheme in DATABASES)


@pytest.mark.parametrize("wrong", ["false", "no", 0, None])
async def test_setup_schema_of_another_type_is_refused(wrong: Any) -> None:
    """As in ``THREADLOG_CHECKPOINTER_OPTIONS='{"setup_schema": "false"}'``."""
    error = await refused(":memory:", scheme="sqlite", options={"setup_schema": wrong})
    assert f"'setup_schema' must be true or false, not {wrong!r}" in error


# --- Databases of ours -------------------------------------------------------------


async def test_a_database_keeps_checkpoints(database: tuple[str, str]) -> None:
    scheme, uri = database
    async with open_checkpointer(uri, scheme=scheme.upper()) as checkpointer:
        assert isinstance(checkpointer, Saver)
        await put(checkpointer, "a")
    async with open_checkpointer(uri, scheme=scheme) as checkpointer:
        assert await has(checkpointer, "a")


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite3:///{}", "sqlite+aiosqlite:///{}"])
@pytest.mark.parametrize("scheme", ["sqlite", "sqlite3"])
async def test_a_file_may_be_a_path(scheme: str, form: str, tmp_path: Any) -> None:
    path = tmp_path / "a file.db"
    async with open_checkpointer(form.format(path), scheme=scheme) as checkpointer:
        await put(checkpointer, "a")
    async with open_checkpointer(str(path), scheme="sqlite") as checkpointer:
        assert await has(checkpointer, "a")


@pytest.mark.parametrize("uri", ["sqlite://", ":memory:"])
async def test_a_database_in_memory_is_asked_for_by_name(uri: str) -> None:
    """It works, and is not shared."""
    for _ in range(2):
        async with open_checkpointer(uri, scheme="sqlite") as checkpointer:
            assert not await has(checkpointer, "a")
            await put(checkpointer, "a")


async def test_tables_are_not_made_unless_wanted(innodb_name: str, innodb_database: str) -> None:
    with pytest.raises(CubepiSchemaError):
        async with open_checkpointer(
            innodb_database, scheme=innodb_name, setup_schema=False
        ) as checkpointer:
            await has(checkpointer, "a")


async def test_options_reach_the_saver(sqlite_url: str) -> None:
    serde = JsonPlusSerializer()
    async with open_checkpointer(
        sqlite_url, scheme="sqlite", options={"serde": serde, "max_pool_size": 2}
    ) as checkpointer:
        assert checkpointer.serde is serde
    with pytest.raises(ThreadlogError, match="max_pool_size must be an int of at least 1"):
        await opened(sqlite_url, scheme="sqlite", options={"max_pool_size": 0})
    with pytest.raises(ConfigurationError, match=r"min_pool_size \(3\) is above"):
        await opened(sqlite_url, scheme="sqlite", options={"min_pool_size": 3, "max_pool_size": 2})


@pytest.mark.parametrize(
    ("scheme", "uri", "named"),
    [
        ("mysql", f"mariadb://root:{SECRET}@h/d", "mariadb"),
        ("mysql", f"postgresql://root:{SECRET}@h/d", "postgresql"),
        ("mysql", "sqlite://", "sqlite"),
        ("sqlite", f"mysql://root:{SECRET}@h/d", "mysql"),
        ("sqlite3", "mongodb://h/d", "mongodb"),
        ("mongodb", f"mysql://root:{SECRET}@h/d", "mysql"),
        ("redis", f"mongodb://root:{SECRET}@h/d", "mongodb"),
    ],
)
async def test_the_uri_has_to_fit_the_scheme(scheme: str, uri: str, named: str) -> None:
    """The scheme decides, and a URI of another database is no way around it."""
    error = await refused(uri, scheme=scheme)
    assert f"The scheme is '{scheme}', but the URI begins with {named}://" in error


async def test_what_is_no_url_is_refused() -> None:
    assert "mysql://user:password@host" in await refused(f"root:{SECRET}@h/d", scheme="mysql")


# --- Databases of others -----------------------------------------------------------


@pytest.mark.parametrize(("scheme", "extra"), ELSEWHERE.items())
async def test_a_missing_extra_is_named(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package_is_missing(monkeypatch, extra)
    with pytest.raises(MissingExtraError) as caught:
        await opened(URIS[scheme], scheme=scheme)
    assert (caught.value.package, caught.value.extra) == (f"langgraph-checkpoint-{extra}", extra)
    assert f"pip install 'threadlog[{extra}]'" in str(caught.value)


LAZY = """
import asyncio, sys, threadlog.persistence, threadlog.skeino

async def main():
    async with threadlog.persistence.open_checkpointer():
        print(sorted({"bson", "pymongo", "redis", "redisvl"} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.mark.processes
def test_drivers_are_not_imported_unless_used() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
