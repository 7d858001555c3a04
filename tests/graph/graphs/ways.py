"""The ways to run a graph on a saver, under the same asynchronous names.

``async with`` and ``ainvoke``, ``with`` and ``invoke``; on a URL and on an engine of the host's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.types import StateSnapshot
from sqlalchemy import QueuePool

from tests.support.ways import host_engine, sync_host_engine
from threadlog.langgraph import Saver

Builder = StateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class Way:
    """An open saver, and whether graphs on it are run without asyncio."""

    saver: BaseCheckpointSaver[str]
    synchronous: bool = False

    def compile(self, builder: Builder, **options: Any) -> "Runner":
        """Compile a graph on the saver."""
        return Runner(builder.compile(checkpointer=self.saver, **options), self.synchronous)

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method of the saver, whose synchronous name is given."""
        if self.synchronous:
            return await asyncio.to_thread(getattr(self.saver, name), *args, **options)
        return await getattr(self.saver, f"a{name}")(*args, **options)

    async def tuples(self, config: RunnableConfig | None, **options: Any) -> list[CheckpointTuple]:
        """List checkpoints, newest first."""
        if self.synchronous:
            return await asyncio.to_thread(lambda: list(self.saver.list(config, **options)))
        return [found async for found in self.saver.alist(config, **options)]


class Runner:
    """A compiled graph whose methods are run asynchronously, or the others in a thread."""

    def __init__(self, graph: CompiledStateGraph[Any, Any, Any, Any], synchronous: bool) -> None:  # noqa: FBT001 - both are named by `Way`
        """Take the graph."""
        self.graph: Any = graph
        self._synchronous = synchronous

    async def run(self, given: Any, config: RunnableConfig, **options: Any) -> Any:
        """Run it."""
        if self._synchronous:
            return await asyncio.to_thread(self.graph.invoke, given, config, **options)
        return await self.graph.ainvoke(given, config, **options)

    async def stream(self, given: Any, config: RunnableConfig, **options: Any) -> list[Any]:
        """Run it, and give what it streams."""
        if self._synchronous:
            return await asyncio.to_thread(
                lambda: list(self.graph.stream(given, config, **options))
            )
        return [found async for found in self.graph.astream(given, config, **options)]

    async def state(self, config: RunnableConfig, **options: Any) -> StateSnapshot:
        """Read a state."""
        if self._synchronous:
            found = await asyncio.to_thread(self.graph.get_state, config, **options)
        else:
            found = await self.graph.aget_state(config, **options)
        return cast("StateSnapshot", found)

    async def history(self, config: RunnableConfig, **options: Any) -> list[StateSnapshot]:
        """Read all states, newest first."""
        if self._synchronous:
            return await asyncio.to_thread(
                lambda: list(self.graph.get_state_history(config, **options))
            )
        return [found async for found in self.graph.aget_state_history(config, **options)]

    async def update(
        self, config: RunnableConfig, values: Any, as_node: str | None = None
    ) -> RunnableConfig:
        """Write to a state."""
        if self._synchronous:
            found = await asyncio.to_thread(self.graph.update_state, config, values, as_node)
        else:
            found = await self.graph.aupdate_state(config, values, as_node)
        return cast("RunnableConfig", found)

    async def updates(self, config: RunnableConfig, supersteps: Sequence[Any]) -> RunnableConfig:
        """Write to a state, several times over."""
        if self._synchronous:
            found = await asyncio.to_thread(self.graph.bulk_update_state, config, supersteps)
        else:
            found = await self.graph.abulk_update_state(config, supersteps)
        return cast("RunnableConfig", found)


def reference(way: Way) -> Way:
    """Give LangGraph's own saver in memory, run as the other is."""
    return Way(InMemorySaver(), way.synchronous)


@asynccontextmanager
async def own(url: str) -> AsyncIterator[Way]:
    """Open a saver on a URL with ``async with``."""
    async with Saver(url) as saver:
        await saver.setup()
        yield Way(saver)


@asynccontextmanager
async def own_sync(url: str) -> AsyncIterator[Way]:
    """Open a saver on a URL with ``with``."""
    with Saver(url) as saver:
        await asyncio.to_thread(saver.setup)
        yield Way(saver, synchronous=True)


@asynccontextmanager
async def hosts(url: str) -> AsyncIterator[Way]:
    """Open a saver on an asynchronous engine of the host's."""
    engine = host_engine(url)
    try:
        async with Saver(engine=engine) as saver:
            await saver.setup()
            yield Way(saver)
            assert cast("QueuePool", engine.pool).checkedout() == 0
    finally:
        await engine.dispose()


@asynccontextmanager
async def hosts_sync(url: str) -> AsyncIterator[Way]:
    """Open a saver on a synchronous engine of the host's."""
    engine = sync_host_engine(url)
    try:
        with Saver(engine=engine) as saver:
            await asyncio.to_thread(saver.setup)
            yield Way(saver, synchronous=True)
            assert cast("QueuePool", engine.pool).checkedout() == 0
    finally:
        engine.dispose()


WAYS: Final[dict[str, Callable[[str], AbstractAsyncContextManager[Way]]]] = {
    "own": own,
    "own_sync": own_sync,
    "hosts": hosts,
    "hosts_sync": hosts_sync,
}
