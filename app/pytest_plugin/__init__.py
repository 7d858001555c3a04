"""Fixtures for the tests of applications, which pytest loads where threadlog is installed.

A package beside threadlog, which it imports when a fixture is first used: projects that do not
use the fixtures pay nothing. Every fixture of a test works in one transaction, which is rolled
back after the test.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if not TYPE_CHECKING:
    try:  # in its strict mode pytest-asyncio runs only the fixtures that it made
        from pytest_asyncio import fixture as async_fixture
    except ModuleNotFoundError:
        async_fixture = pytest.fixture
else:
    async_fixture = pytest.fixture
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from threadlog import Checkpointer, SyncCheckpointer
    from threadlog.langgraph import Saver, Store


@pytest.fixture(scope="session")
def threadlog_url() -> str:
    """Return the URL of the database: a new one in memory for each test.

    Override it in ``conftest.py``. On a server the tables must exist.
    """
    return "sqlite://"


@async_fixture
async def threadlog_engine(threadlog_url: str) -> "AsyncIterator[AsyncEngine]":
    """Yield an engine whose every transaction is rolled back after the test."""
    from threadlog.testing import rolled_back_engine  # noqa: PLC0415 - see above, as for the others

    async with rolled_back_engine(threadlog_url) as engine:
        yield engine


@async_fixture
async def threadlog_checkpointer(threadlog_engine: "AsyncEngine") -> "AsyncIterator[Checkpointer]":
    """Yield an open checkpointer on `threadlog_engine`."""
    from threadlog import Checkpointer  # noqa: PLC0415 - as above

    async with Checkpointer(engine=threadlog_engine) as checkpointer:
        yield checkpointer


@async_fixture
async def threadlog_saver(threadlog_engine: "AsyncEngine") -> "AsyncIterator[Saver]":
    """Yield an open saver of LangGraph's checkpoints on `threadlog_engine`."""
    from threadlog.langgraph import Saver  # noqa: PLC0415 - as above

    async with Saver(engine=threadlog_engine) as saver:
        yield saver


@async_fixture
async def threadlog_store(threadlog_engine: "AsyncEngine") -> "AsyncIterator[Store]":
    """Yield an open store of LangGraph's memories on `threadlog_engine`."""
    from threadlog.langgraph import Store  # noqa: PLC0415 - as above

    async with Store(engine=threadlog_engine) as store:
        yield store


@pytest.fixture
def threadlog_sync_engine(threadlog_url: str) -> "Iterator[Engine]":
    """Yield a plain engine whose every transaction is rolled back after the test."""
    from threadlog.testing import sync_rolled_back_engine  # noqa: PLC0415 - as above

    with sync_rolled_back_engine(threadlog_url) as engine:
        yield engine


@pytest.fixture
def threadlog_sync_checkpointer(threadlog_sync_engine: "Engine") -> "Iterator[SyncCheckpointer]":
    """Yield an open checkpointer on `threadlog_sync_engine`."""
    from threadlog import SyncCheckpointer  # noqa: PLC0415 - as above

    with SyncCheckpointer(engine=threadlog_sync_engine) as checkpointer:
        yield checkpointer


@pytest.fixture
def threadlog_sync_saver(threadlog_sync_engine: "Engine") -> "Iterator[Saver]":
    """Yield an open saver on `threadlog_sync_engine`."""
    from threadlog.langgraph import Saver  # noqa: PLC0415 - as above

    with Saver(engine=threadlog_sync_engine) as saver:
        yield saver


@pytest.fixture
def threadlog_sync_store(threadlog_sync_engine: "Engine") -> "Iterator[Store]":
    """Yield an open store on `threadlog_sync_engine`."""
    from threadlog.langgraph import Store  # noqa: PLC0415 - as above

    with Store(engine=threadlog_sync_engine) as store:
        yield store
