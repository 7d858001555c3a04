"""Databases with the search index."""

import pytest

from tests.support.databases import on_connection
from threadlog.models import CONTROL, SEARCH


@pytest.fixture
async def search_url(database_url: str) -> str:
    """Return the URL of a database with the message log, thread control and the search index."""
    for part in (CONTROL, SEARCH):
        await on_connection(database_url, part.metadata.create_all)
    return database_url
