"""One of the two databases of a copy."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.copying.row_groups import groups_of
from threadlog.databases.base import PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import servers_of, show_url
from threadlog.errors import ConfigurationError, CopyEndError, StorageError, ThreadlogError
from threadlog.models import MESSAGES, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.runtime.client import sleep
from threadlog.runtime.engines import open_engine
from threadlog.runtime.transactions import OwnedRunner, TransactionRunner
from threadlog.schema.verify import verify_schema

T = TypeVar("T")

EndName: TypeAlias = Literal["source", "target"]


class CopyEnd:
    """One of the two databases."""

    def __init__(self, name: EndName, url: URL, *, exists: bool) -> None:
        """Make its engine; nothing connects yet.

        Raises:
            CopyEndError: the URL cannot be used, or names a file that is to exist and does not.
        """
        self.name, self._url = name, url
        self.statement_limit = 0
        with self.named(ThreadlogError):
            self.backend = backend_of(url)
            file = self.backend.missing_file(url)
            if exists and file:
                raise ConfigurationError(f"There is no file {file!r}.")
            self.engine: AsyncEngine = open_engine(
                self.backend, url, PoolSize(0, 1), snapshots=name == "source"
            )

    def transactions(self, part: SchemaPart) -> TransactionRunner:
        """Give what runs units of work, for use in a greenlet, and says which end failed."""
        return _EndRunner(self, part)

    def has_rows(self, part: SchemaPart) -> bool:
        """Say whether there are rows of a part of the schema; for use in a greenlet."""

        def work(uow: UnitOfWork) -> bool:
            tables = [table for group in groups_of([part]) for table in group.tables]
            existing = uow.catalogue.tables(part)
            return any(uow.raw_rows(t).has_any() for t in tables if t.name in existing)

        return self.transactions(part).read(work)

    def meet(self) -> None:
        """Connect for the first time, and verify the server; for use in a greenlet.

        Raises:
            CopyEndError: it cannot be reached, or is another one than is needed.
        """
        # The last three are what drivers raise about options of a URL.
        with self.named(ThreadlogError, TypeError, ValueError, OverflowError):
            self.transactions(MESSAGES).read(self.backend.verify_server)

    def verify(self, part: SchemaPart, *, creates: bool) -> None:
        """Verify a part of the schema; for use in a greenlet.

        Args:
            part: the part.
            creates: whether an embedded database without tables is given them.

        Raises:
            CopyEndError: the database has not what is needed.
        """

        def work(uow: UnitOfWork) -> int:
            if creates:
                self.backend.initialise_schema(uow, part)
            verify_schema(uow, part)
            return self.backend.statement_limit(uow)

        transactions = self.transactions(part)
        with self.named(ThreadlogError):
            self.statement_limit = (
                transactions.write(work, idempotent=True) if creates else transactions.read(work)
            )

    @contextmanager
    def named(self, *errors: type[Exception]) -> Iterator[None]:
        """Have errors of the block say which end it is.

        Raises:
            CopyEndError: the block raised one.
        """
        try:
            yield
        except CopyEndError:
            raise  # of the other end, which was used inside the block
        except errors as error:
            # A cause that a command does not show is no place to look.
            reason = f"{error.reason.rstrip('.')}." if type(error) is StorageError else str(error)
            raise CopyEndError(end=self.name, url=show_url(self._url), reason=reason) from error


class _EndRunner(OwnedRunner):
    """Runs units of work at one end; an error says which."""

    def __init__(self, end: CopyEnd, part: SchemaPart) -> None:
        engine = end.engine.sync_engine
        super().__init__(engine, end.backend, part, end.statement_limit, sleep=sleep)
        self._end = end

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        with self._end.named(StorageError):
            return super().read(work)

    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = False) -> T:
        with self._end.named(StorageError):
            return super().write(work, idempotent=idempotent)


def are_one(one: URL, other: URL) -> bool:
    """Say whether two URLs lead to the same database, as far as URLs tell.

    Raises:
        ConfigurationError: a URL names a host that is none.
    """
    servers, others = _addresses(one), _addresses(other)
    if servers or others:
        return one.database == other.database and not servers.isdisjoint(others)
    files = [Path(url.database or "") for url in (one, other)]
    return all(file.is_file() for file in files) and files[0].samefile(files[1])


def _addresses(url: URL) -> set[tuple[str, int]]:
    """Give where the servers of a URL listen; none where the database is a file."""
    found: set[tuple[str, int]] = set()
    for name, port in servers_of(url):
        found.add((name, port))
        with suppress(OSError):  # whoever connects to it will say so
            found |= {(str(known[4][0]), port) for known in socket.getaddrinfo(name, None)}
    return found
