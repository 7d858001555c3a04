"""The side of asynchronous doors that faces the database."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from threadlog.databases.base import PoolSize
from threadlog.databases.urls import parse_url
from threadlog.errors import ConfigurationError, ThreadlogError
from threadlog.log import operations
from threadlog.log.append import AppendRequest, Outcome
from threadlog.runtime.door import Door, check_one_source, check_pool
from threadlog.runtime.session_sources import (
    EngineSessions,
    ExternalSession,
    FactorySessions,
    entered_already,
    not_open,
)
from threadlog.runtime.transactions import Store, retry_policy

P = ParamSpec("P")
T = TypeVar("T")


class AsyncDoor(Door):
    """Runs operations in a greenlet each, on sessions of a URL or of a host's engine."""

    _sessions: EngineSessions | FactorySessions | ExternalSession
    _retrying = retry_policy(lambda seconds: await_only(asyncio.sleep(seconds)))

    def __init__(
        self,
        url: str | URL | None,
        *,
        engine: AsyncEngine | None,
        session_factory: Callable[[], AsyncSession] | None,
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
            self._sessions = EngineSessions(parse_url(url), PoolSize(min_pool_size, max_pool_size))
        else:
            self._sessions = FactorySessions(session_factory or _factory(engine))

    async def _open(self) -> None:
        """Connect and verify; what fails leaves nothing open."""
        sessions = self._sessions
        if isinstance(sessions, ExternalSession):
            raise entered_already(sessions)
        sessions.open()
        try:
            with self._naming_options():
                self._statement_limit = await self._write(
                    operations.open_database,
                    sessions.backend,
                    engine_is_external=sessions.engine_is_external,
                    initialise=self.initialises,
                    verify=self.verifies_on_opening,
                    only=self.server,
                )
                await sessions.open_minimum()
        except BaseException:
            await sessions.close()
            raise

    async def _close(self) -> None:
        """Let what runs finish, for up to five seconds, and close connections of our own."""
        if not isinstance(self._sessions, ExternalSession):
            await self._sessions.close()

    async def _write(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that writes."""
        try:
            return await self._sessions.write(
                lambda session: operation(self._store(session), *args, **kwargs)
            )
        except ThreadlogError as error:
            self._say(error)
            raise

    async def _write_together(
        self, sessions: EngineSessions, encode: Callable[[int], AppendRequest | None]
    ) -> None:
        """Append in a transaction with what others append at the same moment.

        Args:
            sessions: the door's own.
            encode: checks and encodes what to append, for statements of so many bytes.
        """
        try:
            if not sessions.is_open:
                raise not_open(sessions)
            new = encode(self._statement_limit)
            if new is not None:
                await sessions.append(new, self._append_all, self._statement_limit)
        except ThreadlogError as error:
            self._say(error)
            raise

    def _append_all(self, session: Session, appends: Sequence[AppendRequest]) -> list[Outcome]:
        return operations.append_together(self._store(session), appends)

    async def _read(
        self,
        operation: Callable[Concatenate[Store, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that only reads."""
        try:
            return await self._sessions.read(
                lambda session: operation(self._store(session), *args, **kwargs)
            )
        except ThreadlogError as error:
            self._say(error)
            raise


def _factory(engine: AsyncEngine | None) -> Callable[[], AsyncSession]:
    if not isinstance(engine, AsyncEngine):
        raise ConfigurationError(
            f"engine must be an AsyncEngine, not a {type(engine).__name__}. "
            "threadlog.SyncCheckpointer takes a plain one."
        )
    return partial(AsyncSession, engine)
