"""Databases with all that belongs to a thread of the message log."""

from collections.abc import AsyncIterator

import pytest

from tests.support.databases import on_connection
from tests.support.templates import create_file
from threadlog import Checkpointer
from threadlog.models import CONTROL, MESSAGES, SEARCH


@pytest.fixture
async def full_url(database_url: str) -> str:
    """Return the URL of a database with the message log, thread control and the search index."""
    for part in (CONTROL, SEARCH):
        await on_connection(database_url, part.metadata.create_all)
    return database_url


@pytest.fixture
async def sqlite_log(sqlite_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer of such an SQLite file, for rules that are the same everywhere."""
    async with Checkpointer(create_file(sqlite_url, MESSAGES, CONTROL, SEARCH)) as opened:
        yield opened
