"""Sessions of an application that are shared, routed to several engines, or in use already."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Insert, Update, create_engine, event, func, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.support.factories import UserFactory
from tests.support.ways import open_engine, open_sync_engine
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import ConfigurationError, SessionInUseError, StorageError
from threadlog.models import Base, GraphBase, Message, Thread


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Open an application's asynchronous engine."""
    async with open_engine(database_url) as opened:
        yield opened


@pytest.fixture
async def sync_engine(database_url: str) -> AsyncIterator[Engine]:
    """Open an application's synchronous engine."""
    async with open_sync_engine(database_url) as opened:
        yield opened


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Engine]:
    """Open an engine of another database, which has none of threadlog's tables."""
    opened = create_engine(f"sqlite:///{tmp_path}/elsewhere.db")
    yield opened
    opened.dispose()


# --- Scoped sessions ---------------------------------------------------------------


def test_factory_that_returns_the_applications_session_is_refused(sync_engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(sync_engine))
    with pytest.raises(ConfigurationError, match=r"Pass its attribute session_factory.*bind\(\)"):
        SyncCheckpointer(session_factory=scoped)
    with pytest.raises(ConfigurationError, match=r"same session twice.*bind\(\)"):
        SyncCheckpointer(session_factory=scoped.__call__)
    with SyncCheckpointer(session_factory=scoped.session_factory) as log:
        log.append("t", [UserFactory()])
    scoped.remove()


async def test_async_factory_that_returns_the_applications_session_is_refused(
    engine: AsyncEngine,
) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    with pytest.raises(ConfigurationError, match=r"Pass its attribute session_factory.*bind\(\)"):
        Checkpointer(session_factory=scoped)
    with pytest.raises(ConfigurationError, match=r"same session twice.*bind\(\)"):
        Checkpointer(session_factory=scoped.__call__)
    await scoped.remove()


def test_bind_of_a_scoped_session_joins_its_current_session(sync_engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(sync_engine))
    with SyncCheckpointer(engine=sync_engine) as log:
        log.bind(scoped).append("t", [UserFactory()])
        assert len(log.bind(scoped()).read("t")) == 1
        scoped.rollback()
        assert log.read("t") == []
    scoped.remove()


async def test_bind_of_an_async_scoped_session_joins_its_current_session(
    engine: AsyncEngine,
) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    async with Checkpointer(engine=engine) as log:
        await log.bind(scoped).append("t", [UserFactory()])
        assert len(await log.bind(scoped()).read("t")) == 1
        await scoped.rollback()
        assert await log.read("t") == []
    await scoped.remove()


# --- Sessions of several engines ---------------------------------------------------


@pytest.mark.parametrize("key", [Base, Thread, Thread.__table__])
@pytest.mark.parametrize("has_default", [False, True])
def test_session_with_binds_uses_the_engine_of_the_tables(
    sync_engine: Engine, elsewhere: Engine, key: Any, *, has_default: bool
) -> None:
    default = {"bind": elsewhere} if has_default else {}
    factory = sessionmaker(binds={key: sync_engine, GraphBase: elsewhere}, **default)
    with SyncCheckpointer(session_factory=factory) as log:
        log.append("t", [UserFactory()])
        with factory.begin() as session:
            log.bind(session).append("t", [UserFactory()])
        assert len(log.read("t")) == 2


def test_session_without_an_engine_for_the_tables_is_refused(elsewhere: Engine) -> None:
    factory = sessionmaker(binds={GraphBase: elsewhere})
    with pytest.raises(ConfigurationError, match=r"no engine for threadlog's tables.*Base: engine"):
        SyncCheckpointer(session_factory=factory)


def test_session_that_separates_readers_uses_the_engine_that_writes(
    sync_engine: Engine, elsewhere: Engine
) -> None:
    class Routing(Session):
        """The session of SQLAlchemy's page on horizontal routing."""

        def get_bind(self, mapper: Any = None, clause: Any = None, **_: Any) -> Engine:
            writes = self._flushing or isinstance(clause, Insert | Update)
            return sync_engine if writes else elsewhere

    factory = sessionmaker(class_=Routing)
    with SyncCheckpointer(session_factory=factory) as log, factory.begin() as session:
        log.bind(session).append("t", [UserFactory()])
        assert len(log.bind(session).read("t")) == 1


# --- One session, two calls at once ------------------------------------------------


async def test_second_call_on_a_session_in_use_sends_nothing(engine: AsyncEngine) -> None:
    async with Checkpointer(engine=engine) as log:
        async with AsyncSession(engine) as session:
            await session.connection()
            first, second = log.bind(session), log.bind(session)
            results = await asyncio.gather(
                first.append("t", [UserFactory()]),
                second.append("u", [UserFactory()]),
                return_exceptions=True,
            )
            assert results[0] is None
            assert isinstance(results[1], SessionInUseError)
            assert not isinstance(results[1], StorageError)  # nothing to retry
            await second.append("u", [UserFactory()])
            await session.commit()
        assert [len(await log.read(thread)) for thread in "tu"] == [1, 1]


def test_second_thread_on_a_session_in_use_sends_nothing(sync_engine: Engine) -> None:
    errors: list[BaseException] = []

    def read(log: SyncCheckpointer[Any, Any, Any], session: Session) -> None:
        try:
            log.bind(session).read("t")
        except SessionInUseError as error:
            errors.append(error)

    with SyncCheckpointer(engine=sync_engine) as log, Session(sync_engine) as session:

        @event.listens_for(session, "do_orm_execute")
        def interrupt(_: Any) -> None:
            thread = threading.Thread(target=read, args=(log, session))
            thread.start()
            thread.join()

        log.bind(session).append("t", [UserFactory()])
        event.remove(session, "do_orm_execute", interrupt)
        assert errors
        count = select(func.count()).select_from(Message)
        assert session.scalar(count) == 1
        session.rollback()
