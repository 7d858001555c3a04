"""Where a synchronous checkpointer gets its sessions; see `session_sources`."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar, cast

from sqlalchemy import URL, Engine, QueuePool
from sqlalchemy.orm import Session

from threadlog.databases.base import Backend, PoolSize
from threadlog.databases.registry import backend_of
from threadlog.databases.urls import show_url
from threadlog.errors import ConfigurationError
from threadlog.runtime.engines import open_sync_engine
from threadlog.runtime.session_sources import ExternalBind, bind_of, entered_already, not_open
from threadlog.runtime.transactions import translate_errors

T = TypeVar("T")


class SyncEngineSessions:
    """Sessions on engines that threadlog makes of a URL, open or closed."""

    engine_is_external = False
    joined = False

    def __init__(self, url: URL, pool: PoolSize) -> None:
        """Take a URL and how many connections to open at the start and at most.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self.url = url
        self.backend: Backend = backend_of(url)
        self.backend.settings(url, pool, synchronous=True)
        self.engine: Engine | None = None
        self.reading_engine: Engine | None = None
        self._writing, self._reading = self.backend.divide(pool)

    def __str__(self) -> str:
        """Show the URL without its password."""
        return show_url(self.url)

    @property
    def is_open(self) -> bool:
        """Whether there are engines."""
        return self.engine is not None

    def open(self) -> None:
        """Make the engines; nothing connects yet."""
        if self.engine is not None:
            raise entered_already(self)
        self.engine = open_sync_engine(self.backend, self.url, self._writing)
        if self._reading.most:
            self.reading_engine = open_sync_engine(
                self.backend, self.url, self._reading, reading=True
            )

    def open_minimum(self) -> None:
        """Open the connections that are to be open at the start.

        Raises:
            StorageError: one cannot be opened.
        """
        sizes = ((self.engine, self._writing), (self.reading_engine, self._reading))
        with translate_errors(self.backend), ExitStack() as opened:
            for engine, size in sizes:
                for _ in range(size.least if engine is not None else 0):
                    opened.enter_context(cast("Engine", engine).connect())

    def close(self) -> None:
        """Close the connections; those in use when their work is done."""
        engines = (self.engine, self.reading_engine)
        self.engine = self.reading_engine = None
        for engine in engines:
            if engine is not None:
                engine.dispose()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run work that may write."""
        if self.engine is None:
            raise not_open(self)
        return work(Session(self.engine))

    def read(self, work: Callable[[Session], T]) -> T:
        """Run work that only reads; where reading connections are busy, on one that writes."""
        reading, writing = self.reading_engine, self.engine
        if reading is None or writing is None:
            return self.write(work)
        if _is_busy(reading) and not _is_busy(writing):
            return self.write(work)
        return work(Session(reading))


class SyncFactorySessions(ExternalBind):
    """Sessions that the host's factory makes."""

    def __init__(self, factory: Callable[[], Session]) -> None:
        """Take what makes a session, which is closed after each unit of work.

        Raises:
            ConfigurationError: the factory makes no plain session, or one of a database that
                threadlog does not support.
        """
        session = factory()
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"A factory of plain sessions is needed, such as sessionmaker(); this one made "
                f"a {type(session).__name__}. threadlog.Checkpointer takes asynchronous ones."
            )
        super().__init__(session)
        self._factory = factory

    def open_minimum(self) -> None:
        """Do nothing: the pool is the host's."""

    def close(self) -> None:
        """Let no more work be run. Connections are the host's."""
        self.is_open = False

    def write(self, work: Callable[[Session], T]) -> T:
        """Run work that may write on a new session, which it closes."""
        if not self.is_open:
            raise not_open(self)
        return work(self._factory())

    read = write


class SyncExternalSession:
    """One session that the host opened, and closes."""

    engine_is_external = True
    joined = True
    is_open = True

    def __init__(self, session: Session, backend: Backend) -> None:
        """Take a session, and what knows its database."""
        self.backend = backend
        self._session = session

    def __str__(self) -> str:
        """Show the engine's URL without its password."""
        return show_url(bind_of(self._session).engine.url)

    def write(self, work: Callable[[Session], T]) -> T:
        """Run work in the session's transaction."""
        return work(self._session)

    read = write


def _is_busy(engine: Engine) -> bool:
    pool = cast("QueuePool", engine.pool)
    return pool.checkedout() >= pool.size()
