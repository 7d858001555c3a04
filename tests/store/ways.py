"""Ways to open a store, under the same asynchronous names."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from langgraph.store.base import BaseStore, Op, Result, TTLConfig
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from tests.support.surroundings import entered, product_url, sync_product_url
from tests.support.ways import open_engine, open_sync_engine
from threadlog.langgraph import Store
from threadlog.models import STORE


@dataclass(frozen=True)
class Way:
    """An open store, and whether it is used without asyncio."""

    store: BaseStore
    synchronous: bool = False

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method of the store by its synchronous name."""
        if self.synchronous:
            return await asyncio.to_thread(getattr(self.store, name), *args, **options)
        return await getattr(self.store, f"a{name}")(*args, **options)

    async def keys(self, *labels: str, **options: Any) -> list[str]:
        """Return the keys that a search finds."""
        return [item.key for item in await self.call("search", labels, **options)]


@asynccontextmanager
async def own(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a store on a URL with ``async with``."""
    async with entered(Store(product_url(url), **options)) as store:
        await store.setup()
        yield Way(store)


@asynccontextmanager
async def own_sync(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a store on a URL with ``with``."""
    with Store(sync_product_url(url), **options) as store:
        await asyncio.to_thread(store.setup)
        yield Way(store, synchronous=True)


@asynccontextmanager
async def engine(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a store on an application's asynchronous engine."""
    async with open_engine(url, STORE) as theirs, Store(engine=theirs, **options) as store:
        await store.setup()
        yield Way(store)


@asynccontextmanager
async def engine_sync(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a store on an application's synchronous engine."""
    async with open_sync_engine(url, STORE) as theirs:
        with Store(engine=theirs, **options) as store:
            await asyncio.to_thread(store.setup)
            yield Way(store, synchronous=True)


class EachInASession(BaseStore):
    """Runs each batch of a store in a session that is committed right after."""

    supports_ttl = True

    def __init__(self, store: Store, engine: AsyncEngine, ttl: TTLConfig | None) -> None:
        self._store, self._engine, self.ttl_config = store, engine, ttl

    def batch(self, ops: Iterator[Op]) -> list[Result]:  # type: ignore[override]  # not used
        raise NotImplementedError

    async def abatch(self, ops: Any) -> list[Result]:
        async with AsyncSession(self._engine) as session, session.begin():
            return await self._store.bind(session).abatch(ops)


@asynccontextmanager
async def joined(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a store whose every call is bound to a session of its own."""
    async with open_engine(url, STORE) as theirs, Store(engine=theirs, **options) as store:
        await store.setup()
        yield Way(EachInASession(store, theirs, options.get("ttl")))


WAYS: Final[dict[str, Callable[..., AbstractAsyncContextManager[Way]]]] = {
    way.__name__: way for way in (own, own_sync, engine, engine_sync, joined)
}
"""Each by its name; tests that are not about the ways use the first."""
