"""Open existing databases for commands."""

from sqlalchemy import URL

from threadlog.checkpointer import Checkpointer
from threadlog.databases import backend_of, parse_url
from threadlog.errors import ConfigurationError
from threadlog.graph.client import GraphDoor


def existing(url: str) -> Checkpointer:
    """Return a checkpointer on an existing database: reading must not create a file.

    Raises:
        ConfigurationError: the URL is not valid, or its file does not exist.
    """
    return Checkpointer(_existing(url))


def existing_graphs(url: str) -> GraphDoor:
    """Return a client of an existing database's graph state, which creates no tables.

    Raises:
        ConfigurationError: the URL is not valid, or its file does not exist.
    """
    door = GraphDoor(_existing(url))
    door.initialises = False
    return door


def _existing(url: str) -> URL:
    parsed = parse_url(url)
    if file := backend_of(parsed).missing_file(parsed):
        raise ConfigurationError(
            f"There is no file {file!r}. Name the database with --url or THREADLOG_URL; "
            "threadlog import creates a file."
        )
    return parsed
