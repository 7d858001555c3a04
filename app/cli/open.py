"""Open existing databases for commands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import URL

from threadlog.checkpointer import Checkpointer, ScopedCheckpointer
from threadlog.databases.base import PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError
from threadlog.graph.client import GraphClient
from threadlog.models import GRAPH, MESSAGES, SchemaPart
from threadlog.runtime.client import EngineClient
from threadlog.schema.opening import find_additions, open_client

# A person waits for the answer.
_RETRY_SECONDS: Final = "2"


@asynccontextmanager
async def existing(url: str) -> AsyncIterator[Checkpointer]:
    """Open a checkpointer on an existing database: reading creates neither a file nor a table.

    Raises:
        ConfigurationError: the URL is not valid, or its file does not exist.
        CubepiSchemaUninitialized: the database has none of the tables.
    """
    async with existing_client(url) as client, Checkpointer(client=client) as checkpointer:
        yield checkpointer


@asynccontextmanager
async def existing_client(url: str) -> AsyncIterator[EngineClient]:
    """Open a client of an existing database, whichever parts of the schema it has.

    Raises:
        ConfigurationError: the URL is not valid, or its file does not exist.
    """
    client = EngineClient(_existing(url), PoolSize(0, 2), MESSAGES)
    await open_client(client, initialise=False, verify=False)
    try:
        client.facts = replace(client.facts, **await client.read(find_additions))
        yield client
    finally:
        await client.close()


def scoped(checkpointer: Checkpointer, owner: str | None) -> Checkpointer | ScopedCheckpointer:
    """Return a checkpointer, or the one of an owner's threads."""
    return checkpointer if owner is None else checkpointer.scoped(owner)


def existing_graphs(url: str, part: SchemaPart = GRAPH) -> GraphClient:
    """Create a client for a part of an existing database, which is given no tables.

    Raises:
        ConfigurationError: the URL is not valid, or its file does not exist.
    """
    return GraphClient(_existing(url), initialise=False, part=part)


def _existing(url: str) -> URL:
    parsed = parse_url(url)
    if file := backend_of(parsed).missing_file(parsed):
        raise ConfigurationError(
            f"There is no file {file!r}. Name the database with --url or THREADLOG_URL; "
            "threadlog import creates a file."
        )
    return parsed.update_query_dict({"retry_seconds": _RETRY_SECONDS, **parsed.query})
