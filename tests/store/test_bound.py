"""Memories that are written in the transaction of an application."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.store.base import PutOp
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
)
from sqlalchemy.orm import Session

from tests.support.ways import open_engine, open_sync_engine
from threadlog.errors import ConfigurationError, NotOpenError
from threadlog.langgraph import Store
from threadlog.models import STORE


@pytest.fixture
async def theirs(store_url: str) -> AsyncIterator[AsyncEngine]:
    """Create an application's engine."""
    async with open_engine(store_url, STORE) as engine:
        yield engine


async def test_what_a_transaction_writes_is_there_if_it_commits(theirs: AsyncEngine) -> None:
    async with Store(engine=theirs) as store:
        async with AsyncSession(theirs) as session, session.begin():
            bound = store.bind(session)
            await bound.aput(("a",), "k", {"x": 1}, ttl=5)
            found = await bound.aget(("a",), "k")
            assert found is not None
            assert found.value == {"x": 1}
            assert len(await bound.asearch(("a",))) == 1
        assert await store.alist_namespaces() == [("a",)]


async def test_what_a_transaction_writes_is_gone_if_it_rolls_back(theirs: AsyncEngine) -> None:
    async with Store(engine=theirs) as store:
        await store.aput(("a",), "kept", {"x": 1})
        async with AsyncSession(theirs) as session:
            bound = store.bind(session)
            await bound.abatch([PutOp(("a",), "k", {"x": 1}), PutOp(("a",), "kept", None)])
            assert await bound.aget(("a",), "kept") is None
            await session.rollback()
        assert [item.key for item in await store.asearch(("a",))] == ["kept"]


async def test_a_plain_session_is_bound_too(store_url: str) -> None:
    async with open_sync_engine(store_url, STORE) as engine:
        with Store(engine=engine) as store:
            with Session(engine) as session:
                store.bind(session).put(("a",), "lost", {"x": 1})
                session.rollback()
                store.bind(session).put(("a",), "kept", {"x": 1})
                session.commit()
            assert [item.key for item in store.search(("a",))] == ["kept"]


@pytest.mark.one_database
async def test_a_store_on_a_url_binds_a_session_of_the_same_database(
    store_url: str, theirs: AsyncEngine
) -> None:
    scoped = async_scoped_session(async_sessionmaker(theirs), lambda: 1)
    async with Store(store_url) as store:
        await store.bind(scoped).aput(("a",), "k", {"x": 1})
        await scoped.commit()
        assert await store.aget(("a",), "k") is not None
    await scoped.remove()


@pytest.mark.one_database
async def test_what_cannot_be_bound_is_refused(theirs: AsyncEngine) -> None:
    store = Store(engine=theirs)
    async with AsyncSession(theirs) as session:
        with pytest.raises(NotOpenError):
            store.bind(session)
        async with store:
            no_session: Any = theirs
            with pytest.raises(ConfigurationError, match="AsyncEngine"):
                store.bind(no_session)
            with pytest.raises(NotOpenError, match="asynchronous methods"):
                store.bind(session).put(("a",), "k", {"x": 1})
            with Session() as plain, pytest.raises(ConfigurationError, match="bound to no engine"):
                store.bind(plain)


@pytest.mark.sqlite
async def test_a_session_of_another_kind_of_database_is_refused(
    sqlite_url: str, postgres_store_url: str
) -> None:
    async with (
        Store(sqlite_url) as store,
        open_engine(postgres_store_url, STORE) as other,
        AsyncSession(other) as session,
    ):
        with pytest.raises(ConfigurationError, match="postgresql"):
            store.bind(session)
