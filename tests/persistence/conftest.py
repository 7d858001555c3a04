"""Fixtures of the tests of metadata stores."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from tests.persistence.stores import KINDS, SHARED_KINDS, Opened
from tests.support.databases import SERVERS
from tests.support.matrix import on_each, other_way
from tests.support.templates import create_file
from threadlog.models import GRAPH, METADATA


def on_kinds(kinds: Iterable[str]) -> list[Any]:
    """Return parameters of the kinds; those on an application's engine are another way."""
    return [other_way(each) if "-engine" in each.id else each for each in on_each(kinds)]


def url_for(kind: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh database for a kind of store."""
    database = kind.partition("-")[0]
    if database == "mongodb":
        return str(request.getfixturevalue("mongodb_url"))
    if database in SERVERS:
        return str(request.getfixturevalue(f"{database}_graph_url"))
    url = str(request.getfixturevalue("sqlite_graph_url"))
    return create_file(url, GRAPH, METADATA) if database == "sqlite" else url


@pytest.fixture(params=on_kinds(KINDS))
def ours(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return each kind of threadlog's stores, with the URL of a fresh database."""
    return request.param, url_for(request.param, request)


@pytest.fixture(params=on_kinds([*KINDS, *SHARED_KINDS]))
def anyones(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return each kind of store, skeino's own too, with the URL of a fresh database."""
    return request.param, url_for(request.param, request)


@pytest.fixture
async def opened(ours: tuple[str, str]) -> AsyncIterator[Opened]:
    """Yield each of threadlog's stores, open."""
    kind, url = ours
    async with {**KINDS, **SHARED_KINDS}[kind](url) as each:
        yield each


@pytest.fixture
async def shared(anyones: tuple[str, str]) -> AsyncIterator[Opened]:
    """Yield each store, skeino's own too, open: for their common behaviour."""
    kind, url = anyones
    async with {**KINDS, **SHARED_KINDS}[kind](url) as each:
        yield each


@pytest.fixture(params=on_kinds(kind for kind in KINDS if kind not in {"memory", "mongodb"}))
def durable(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return each kind of store on a database with SQL, with the URL of a fresh one."""
    return request.param, url_for(request.param, request)


@pytest.fixture
async def stored(durable: tuple[str, str]) -> AsyncIterator[Opened]:
    """Yield each of threadlog's stores that is on a database with SQL, open."""
    kind, url = durable
    async with KINDS[kind](url) as each:
        yield each
