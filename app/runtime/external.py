"""Sessions of the application: what they are connected to, and errors about clients."""

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session

from threadlog.databases.base import Backend
from threadlog.databases.registry import backend_named
from threadlog.databases.urls import show_url
from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError, NotOpenError


class ExternalBind:
    """The engine or connection of an application's sessions; open or closed for operations."""

    engine_is_external = True

    def __init__(self, session: Session) -> None:
        """Look at a session of the application's, which is not used.

        Raises:
            ConfigurationError: it is bound to nothing, or to a database that threadlog does
                not support.
        """
        self.bind = bind_of(session)
        self.backend: Backend = backend_named(self.bind.dialect.name)
        self.is_open = False

    def __str__(self) -> str:
        """Return the engine's URL without its password."""
        return show_url(self.bind.engine.url)

    def enter(self) -> None:
        """Mark the client as open.

        Raises:
            ConfigurationError: it is open already.
        """
        if self.is_open:
            raise entered_already(self)
        self.is_open = True


def bind_of(session: Session) -> Engine | Connection:
    """Return what a session of the application is bound to.

    Raises:
        ConfigurationError: it is bound to nothing.
    """
    try:
        return session.get_bind()
    except UnboundExecutionError as error:
        raise ConfigurationError(
            "The session is bound to no engine. Create its factory with bind=engine."
        ) from error


def check_same_kind(session: Session, backend: Backend) -> None:
    """Check that a session is connected to a database of this kind.

    Raises:
        ConfigurationError: it is connected to another kind of database, or to none.
    """
    dialect = bind_of(session).dialect.name
    if dialect not in backend.dialects:
        raise ConfigurationError(
            f"The session is one of {dialect!r}, the checkpointer of {backend.name}. Bind "
            "sessions of the database that the checkpointer was opened on."
        )


def check_pool(least: int, most: int) -> None:
    """Check the sizes of a pool.

    Raises:
        ConfigurationError: a size is out of range, or the minimum is above the maximum.
    """
    check_count(most, "max_pool_size", least=1)
    check_count(least, "min_pool_size", least=0)
    if least > most:
        raise ConfigurationError(f"min_pool_size ({least}) is above max_pool_size ({most}).")


def check_one_source(*sources: object) -> None:
    """Check that exactly one of several sources of sessions is given.

    Raises:
        ConfigurationError: none or several are given.
    """
    if sum(source is not None for source in sources) != 1:
        raise ConfigurationError("Give one of these: a URL, engine= or session_factory=.")


def entered_already(client: object) -> ConfigurationError:
    """Return the error of a block inside a block."""
    return ConfigurationError(
        f"The checkpointer of {client} is entered already; use one block at a time."
    )


def not_open(client: object) -> NotOpenError:
    """Return the error of a call outside the block."""
    return NotOpenError(
        f"The checkpointer for {client} is not open. Use it inside its 'async with' block, or "
        "inside 'with' if it is a synchronous one."
    )
