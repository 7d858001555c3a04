"""Sessions of the application: what they are connected to, and errors about clients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, SingletonThreadPool, StaticPool
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from threadlog.databases.base import Backend, DatabaseFacts, PoolSize
from threadlog.databases.registry import backend_named
from threadlog.databases.timeouts import TimeLimits, choose_retry
from threadlog.databases.urls import show_url
from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError, NotOpenError, SessionInUseError
from threadlog.events import OnEvent
from threadlog.models import SchemaPart
from threadlog.repositories.unit_of_work import bind_arguments
from threadlog.runtime.engines import UrlClient
from threadlog.runtime.transactions import JoinedRunner, OwnedRunner

SessionT = TypeVar("SessionT")


class ExternalBind:
    """The engine or connection of an application's sessions; open or closed for operations."""

    engine_is_external = True
    """Whether the application made the engine."""

    facts = DatabaseFacts()
    """Facts about the database; known once the client is open."""

    on_event: OnEvent | None = None
    """Gets the events of `threadlog.observe`; None if nobody observes."""

    def __init__(self, session: Session, part: SchemaPart, retry_seconds: float | None) -> None:
        """Read the engine from an application's session; nothing is executed.

        Args:
            session: a new session.
            part: the part of the schema that the operations work on.
            retry_seconds: see `Checkpointer`.

        Raises:
            ConfigurationError: it is bound to nothing, or to a database that threadlog does
                not support.
        """
        self.bind = bind_of(session, part)
        self.backend: Backend = backend_named(self.bind.dialect.name)
        self.is_open = False
        self._part = part
        self._retry_seconds = choose_retry(retry_seconds, TimeLimits())

    def __str__(self) -> str:
        """Return the engine's URL without its password."""
        return show_url(self.bind.engine.url)

    def enter(self) -> None:
        """Mark the client as open.

        Raises:
            ConfigurationError: it is open already, or all sessions share one connection.
        """
        if self.is_open:
            raise entered_already(self)
        _check_connections(self.bind)
        self.is_open = True

    def runner_on(self, session: Session, sleep: Callable[[float], bool]) -> OwnedRunner:
        """Return a runner on a session, which is closed after each transaction."""
        runner = OwnedRunner(
            session,
            self.backend,
            self._part,
            self.facts,
            sleep=sleep,
            retry_seconds=self._retry_seconds,
        )
        runner.on_event = self.on_event
        return runner


class ExternalSession:
    """One session that the application opened, for operations in its transaction."""

    engine_is_external = True
    is_open = True

    def __init__(
        self, session: Session, opened: UrlClient | ExternalBind, part: SchemaPart
    ) -> None:
        """Check a session of the application.

        Args:
            session: the session.
            opened: the client of its database.
            part: the part of the schema that the operations work on.

        Raises:
            NotOpenError: the client is not open.
            ConfigurationError: the session is connected to another kind of database, or to none.
        """
        if not opened.is_open:
            raise not_open(opened)
        self._bind = bind_of(session, part)
        self.backend, self.facts = opened.backend, opened.facts
        dialect = self._bind.dialect.name
        if dialect not in self.backend.dialects:
            raise ConfigurationError(
                f"The session uses a {dialect} database, the checkpointer a {self.backend.name} "
                "one. Bind sessions of the database that the checkpointer was opened on."
            )
        self.session = session
        self.runner = JoinedRunner(session, self.backend, part, self.facts)

    def __str__(self) -> str:
        """Return the engine's URL without its password."""
        return show_url(self._bind.engine.url)


def bind_of(session: Session, part: SchemaPart) -> Engine | Connection:
    """Return what a session of the application is bound to for the tables of a part.

    Raises:
        ConfigurationError: it is bound to nothing.
    """
    try:
        return session.get_bind(**bind_arguments(part))
    except UnboundExecutionError as error:
        base = part.main_class.__bases__[-1].__name__
        raise ConfigurationError(
            "The session is bound to no engine for threadlog's tables. Create its factory with "
            f"bind=engine, or with binds={{threadlog.models.{base}: engine}}."
        ) from error


def _check_connections(bind: Engine | Connection) -> None:
    """Check that two transactions of an engine have two connections, or the second waits.

    Raises:
        ConfigurationError: both would have the same.
    """
    if not isinstance(bind, Engine) or not isinstance(bind.pool, StaticPool | SingletonThreadPool):
        return
    poolclass = "AsyncAdaptedQueuePool" if bind.dialect.is_async else "QueuePool"
    raise ConfigurationError(
        f"The engine's {type(bind.pool).__name__} lets sessions share one connection: each would "
        "commit or roll back the others' rows. Create the engine with "
        f"poolclass={poolclass}, pool_size=1, max_overflow=0 and, for SQLite, "
        "connect_args={'check_same_thread': False}: sessions then wait for the connection."
    )


def new_session(factory: Callable[[], object], kind: type[SessionT], wanted: str) -> SessionT:
    """Return a session of a factory, which must make a new one at each call.

    Args:
        factory: the application's factory; threadlog closes each of its sessions.
        kind: the class of its sessions.
        wanted: what to give, for the error about a session of another class.

    Raises:
        ConfigurationError: it is a scoped session, makes sessions of another class, or returns
            the same session again.
    """
    if isinstance(factory, scoped_session | async_scoped_session):
        raise ConfigurationError(
            f"session_factory is a {type(factory).__name__}, which returns the application's own "
            "session: threadlog would commit its pending rows and close it. Pass its attribute "
            "session_factory, or use bind() to write in the application's session."
        )
    session = factory()
    if not isinstance(session, kind):
        raise ConfigurationError(
            f"The session factory made a {type(session).__name__}, not {wanted}"
        )
    if factory() is session:
        raise ConfigurationError(
            "The session factory returned the same session twice: threadlog would commit the "
            "application's pending rows and close its session. Pass a sessionmaker, which makes "
            "a new session at each call, or use bind() to write in the application's session."
        )
    return session


@contextmanager
def exclusive_use(session: Session) -> Iterator[None]:
    """Keep other calls of threadlog from using a session in the block.

    Raises:
        SessionInUseError: another call uses it.
    """
    with _in_use_lock:
        if session in _in_use:
            raise SessionInUseError
        _in_use.add(session)
    try:
        yield
    finally:
        _in_use.discard(session)


_in_use: Final[WeakSet[Session]] = WeakSet()
_in_use_lock: Final = Lock()


def check_pool(size: PoolSize) -> None:
    """Check the sizes of a pool.

    Raises:
        ConfigurationError: a size is out of range, or the minimum is above the maximum.
    """
    check_count(size.most, "max_pool_size", least=1)
    check_count(size.least, "min_pool_size", least=0)
    if size.least > size.most:
        raise ConfigurationError(
            f"min_pool_size ({size.least}) is above max_pool_size ({size.most}). Lower the first "
            "or raise the second."
        )


def check_one_source(*sources: object) -> None:
    """Check that exactly one of several sources of sessions is given.

    Raises:
        ConfigurationError: none or several are given.
    """
    if sum(source is not None for source in sources) != 1:
        raise ConfigurationError(
            "Give exactly one source of connections: a URL, engine=, session_factory= or client=, "
            "whichever the class accepts."
        )


def entered_already(client: object) -> ConfigurationError:
    """Return the error of a block inside a block."""
    return ConfigurationError(
        f"The checkpointer of {client} is entered already; use one block at a time."
    )


def closed_before(client: object) -> NotOpenError:
    """Return the error of an operation that waited while its client was closed."""
    return NotOpenError(
        f"The checkpointer of {client} was closed before the call began. Open it "
        "again, or close it after the last call."
    )


def not_open(client: object) -> NotOpenError:
    """Return the error of a call outside the block."""
    return NotOpenError(
        f"The checkpointer for {client} is not open. Use it inside its 'async with' block, or "
        "inside 'with' if it is a synchronous one."
    )
