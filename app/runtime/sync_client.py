"""The side of synchronous doors that faces the database; see `threadlog.runtime.client`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session

from threadlog.databases.base import PoolSize
from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError, ThreadlogError
from threadlog.log import operations
from threadlog.runtime.door import Door, check_one_source, check_pool
from threadlog.runtime.session_sources import entered_already
from threadlog.runtime.sync_session_sources import (
    SyncEngineSessions,
    SyncExternalSession,
    SyncFactorySessions,
)
from threadlog.runtime.transactions import Store, retry_policy

P = ParamSpec("P")
T = TypeVar("T")


class SyncDoor(Door):
    """Runs operations on sessions of a URL or of a host's engine."""

    _sessions: SyncEngineSessions | SyncFactorySessions | SyncExternalSession
    _retrying = retry_policy(time.sleep)

    def __init__(
        self,
        url: str | URL | None,
        *,
        engine: Engine | None,
        session_factory: Callable[[], Session] | None,
        min_pool_size: int,
        max_pool_size: int,
    ) -> None:
        """Take where sessions come from; nothing connects yet.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot
                be used.
        """
        check_one_source(url, engine, session_factory)
        check_pool(min_pool_size, max_pool_size)
        if url is not None:
            pool = PoolSize(min_pool_size, max_pool_size)
            self._sessions = SyncEngineSessions(parse_url(url), pool)
        else:
            self._sessions = SyncFactorySessions(session_factory or _factory(engine))

    def _open(self) -> None:
        """Connect and verify; what fails leaves nothing open."""
        sessions = self._sessions
        if isinstance(sessions, SyncExternalSession):
            raise entered_already(sessions)
        sessions.open()
        try:
            with self._naming_options():
                self._statement_limit = self._write(
                    operations.open_database,
                    sessions.backend,
                    engine_is_external=sessions.engine_is_external,
                    initialise=self.initialises,
                    verify=self.verifies_on_opening,
                    only=self.server,
                )
                sessions.open_minimum()
        except BaseException:
            sessions.close()
            raise

    def _close(self) -> None:
        """Close connections of our own; those in use when their work is done."""
        if not isinstance(self._sessions, SyncExternalSession):
            self._sessions.close()

    def _write(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that writes."""
        try:
            return self._sessions.write(
                lambda session: operation(self._store(session), *args, **kwargs)
            )
        except ThreadlogError as error:
            self._say(error)
            raise

    def _read(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that only reads."""
        try:
            return self._sessions.read(
                lambda session: operation(self._store(session), *args, **kwargs)
            )
        except ThreadlogError as error:
            self._say(error)
            raise


def _factory(engine: Engine | None) -> Callable[[], Session]:
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"engine must be an Engine, not a {type(engine).__name__}. threadlog.Checkpointer "
            "takes an AsyncEngine."
        )
    return partial(Session, engine)
