"""Databases with all that belongs to a thread of the message log."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.databases import create_schema, on_connection
from threadlog import Checkpointer
from threadlog.models import CONTROL, SEARCH


@pytest.fixture
async def full_url(database_url: str) -> str:
    """Return the URL of a database with the message log, thread control and the search index."""
    for part in (CONTROL, SEARCH):
        await on_connection(database_url, part.metadata.create_all)
    return database_url


@pytest.fixture
async def sqlite_log(sqlite_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer of such an SQLite file, for rules that are the same everywhere."""
    async with Checkpointer(sqlite_url):
        pass
    await on_connection(sqlite_url, partial(create_schema, part=SEARCH))
    async with Checkpointer(sqlite_url) as opened:
        yield opened
