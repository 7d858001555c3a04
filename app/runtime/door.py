"""What all doors have in common: stores for operations to run on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol, Self

from sqlalchemy.orm import Session
from tenacity import Retrying

from threadlog.databases.base import Backend
from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError, ThreadlogError
from threadlog.models import MESSAGES, SchemaPart
from threadlog.runtime.session_sources import bind_of, not_open
from threadlog.runtime.transactions import JoinedStore, OwnedStore, Store


class Sessions(Protocol):
    """Where a door has its sessions from."""

    @property
    def backend(self) -> Backend:
        """What knows their database."""

    @property
    def is_open(self) -> bool:
        """Whether work can be run on them."""

    @property
    def engine_is_external(self) -> bool:
        """Whether the host made their engine."""

    @property
    def joined(self) -> bool:
        """Whether there is one session only, whose transaction is the host's."""


class Door:
    """Makes stores of sessions, for operations to run on."""

    part: ClassVar[SchemaPart] = MESSAGES
    """The part of the schema that it opens to."""

    verifies_on_opening: ClassVar[bool] = True
    """Whether it stays closed where its schema is missing or of another version."""

    server: ClassVar[str | None] = None
    """The one kind of server that it takes; None for each that a URL may lead to."""

    initialises: bool = True
    """Whether an embedded database without tables is given them on opening."""

    _sessions: Sessions
    _retrying: Retrying
    _statement_limit = 0

    @property
    def is_open(self) -> bool:
        """Whether operations can be run."""
        return self._sessions.is_open

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        state = "open" if self._sessions.is_open else "closed"
        if self._sessions.joined:
            state = "bound"
        return f"<{type(self).__name__} {self._sessions} {state}>"

    def _store(self, session: Session) -> Store:
        backend, limit = self._sessions.backend, self._statement_limit
        if self._sessions.joined:
            return JoinedStore(session, backend, self.part, limit)
        return OwnedStore(
            session,
            backend,
            self.part,
            limit,
            retrying=self._retrying,
            engine_is_external=self._sessions.engine_is_external,
        )

    @contextmanager
    def _naming_options(self) -> Iterator[None]:
        """Turn what drivers raise about an option, or its value, into a `ConfigurationError`."""
        try:
            yield
        except ThreadlogError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            where = "engine" if self._sessions.engine_is_external else "URL"
            raise ConfigurationError(
                f"The {where} has an option that is wrong: {error}."
            ) from error

    def _say(self, error: ThreadlogError) -> None:
        """Give an error the words of a framework, where the door speaks to one."""

    def _bound(self, session: Session, sessions: Sessions) -> Self:
        """Make a copy of this door whose one session is the host's.

        Raises:
            NotOpenError: this door is not open: nothing is known of the database yet.
            ConfigurationError: the session is one of another kind of database.
        """
        if not self._sessions.is_open:
            raise not_open(self._sessions)
        dialect, own = bind_of(session).dialect.name, self._sessions.backend
        if dialect not in own.dialects:
            raise ConfigurationError(
                f"The session is one of {dialect!r}, the checkpointer of {own.name}. Bind "
                "sessions of the database that the checkpointer was opened on."
            )
        bound = copy.copy(self)
        bound._sessions = sessions  # noqa: SLF001 - it is one of us
        return bound


def check_pool(least: int, most: int) -> None:
    """Refuse sizes of a pool that make no sense.

    Raises:
        ConfigurationError: they do not.
    """
    check_count(most, "max_pool_size", least=1)
    check_count(least, "min_pool_size", least=0)
    if least > most:
        raise ConfigurationError(f"min_pool_size ({least}) is above max_pool_size ({most}).")


def check_one_source(url: object, engine: object, session_factory: object) -> None:
    """Refuse more than one place to have sessions from, or none.

    Raises:
        ConfigurationError: it is not one.
    """
    if sum(source is not None for source in (url, engine, session_factory)) != 1:
        raise ConfigurationError("Give one of these: a URL, engine= or session_factory=.")
