"""The source or target database of a copy."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.copying.row_groups import groups_of
from threadlog.databases.base import DatabaseFacts, EngineUse, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import servers_of, show_url
from threadlog.errors import ConfigurationError, CopyEndError, StorageError, ThreadlogError
from threadlog.models import MESSAGES, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.runtime.client import sleep
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import OwnedRunner, TransactionRunner
from threadlog.schema.opening import open_database

T = TypeVar("T")

EndName: TypeAlias = Literal["source", "target"]


class CopyEnd:
    """The source or target database of a copy."""

    def __init__(self, name: EndName, url: URL, *, exists: bool) -> None:
        """Create the engine without connecting.

        Raises:
            CopyEndError: the URL cannot be used, or `exists` and its file does not exist.
        """
        self.name, self._url = name, url
        self.facts = DatabaseFacts()
        with self.raise_named(ThreadlogError):
            self.backend = backend_of(url)
            file = self.backend.missing_file(url)
            if exists and file:
                raise ConfigurationError(f"There is no file {file!r}.")
            size, use = PoolSize(0, 1), EngineUse(snapshots=name == "source")
            self.retry_seconds = self.backend.settings(url, size, use).limits.retry
            self.engine: AsyncEngine = open_engine(self.backend, url, size, use)

    def transactions(self, part: SchemaPart) -> TransactionRunner:
        """Return a runner of units of work, for a greenlet; its errors name this database."""
        return _EndRunner(self, part)

    def has_rows(self, part: SchemaPart) -> bool:
        """Return True if a part of the schema has rows; for use in a greenlet."""

        def work(uow: UnitOfWork) -> bool:
            tables = [table for group in groups_of([part]) for table in group.tables]
            existing = uow.catalogue.tables(part)
            return any(uow.raw_rows(t).has_any() for t in tables if t.name in existing)

        return self.transactions(part).read(work)

    def verify_server(self) -> None:
        """Connect, and verify the server; for use in a greenlet.

        Raises:
            CopyEndError: the server cannot be reached, or is of the wrong kind or too old.
        """
        # Drivers raise the last three about options of a URL.
        with self.raise_named(ThreadlogError, TypeError, ValueError, OverflowError):
            self.transactions(MESSAGES).read(self.backend.verify_server)

    def verify(self, part: SchemaPart, *, creates: bool) -> None:
        """Verify a part of the schema; for use in a greenlet.

        Args:
            part: the part.
            creates: True to create the tables of an embedded database that has none.

        Raises:
            CopyEndError: the schema is missing or does not match this release.
        """
        with self.raise_named(ThreadlogError):
            self.facts = open_database(
                self.transactions(part), engine_is_external=False, initialise=creates
            )

    @contextmanager
    def raise_named(self, *errors: type[Exception]) -> Iterator[None]:
        """Raise errors of the block as a CopyEndError that names this database."""
        try:
            yield
        except CopyEndError:
            raise  # of the other database, which was used inside the block
        except errors as error:
            # Without the advice to see the cause, which commands do not show.
            reason = f"{error.reason.rstrip('.')}." if type(error) is StorageError else str(error)
            raise CopyEndError(end=self.name, url=show_url(self._url), reason=reason) from error


class _EndRunner(OwnedRunner):
    """Runs units of work at one end; an error says which."""

    def __init__(self, end: CopyEnd, part: SchemaPart) -> None:
        super().__init__(
            end.engine.sync_engine,
            end.backend,
            part,
            end.facts,
            sleep=sleep,
            retry_seconds=end.retry_seconds,
        )
        self._end = end

    def read(self, work: Callable[[UnitOfWork], T], *, snapshot: bool = False) -> T:
        with self._end.raise_named(StorageError):
            return super().read(work, snapshot=snapshot)

    def write(
        self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False, single: bool = False
    ) -> T:
        with self._end.raise_named(StorageError):
            return super().write(work, idempotent=idempotent)


def is_same_database(one: URL, other: URL) -> bool:
    """Return True if two URLs lead to the same database, as far as URLs tell.

    Raises:
        ConfigurationError: a URL contains an invalid host[:port].
    """
    servers, others = _addresses(one), _addresses(other)
    if servers or others:
        return one.database == other.database and not servers.isdisjoint(others)
    files = [Path(url.database or "") for url in (one, other)]
    return all(file.is_file() for file in files) and files[0].samefile(files[1])


def _addresses(url: URL) -> set[tuple[str, int]]:
    """Return the addresses of a URL's servers; empty if the database is a file."""
    found: set[tuple[str, int]] = set()
    for name, port in servers_of(url):
        found.add((name, port))
        with suppress(OSError):  # connecting reports it
            found |= {(str(address[4][0]), port) for address in socket.getaddrinfo(name, None)}
    return found
