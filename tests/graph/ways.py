"""Ways to open a saver and to run graphs on it, under the same asynchronous names.

On a URL and on an application's engine, with ``async with`` and ``ainvoke`` and with ``with`` and
``invoke``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.types import StateSnapshot
from sqlalchemy import QueuePool

from tests.support.surroundings import entered, product_url, sync_product_url
from tests.support.ways import open_engine, open_sync_engine
from threadlog.langgraph import Saver
from threadlog.models import GRAPH
from threadlog.runtime.client import EngineClient

Builder = StateGraph[Any, Any, Any, Any]


class InThreads(BaseCheckpointSaver[str]):
    """Runs the synchronous methods of a saver in threads, under asynchronous names."""

    def __init__(self, saver: BaseCheckpointSaver[str]) -> None:
        super().__init__(serde=saver.serde)
        self.saver = saver

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await asyncio.to_thread(self.saver.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        await asyncio.to_thread(self.saver.put_writes, config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.saver.get_tuple, config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        items, end = self.saver.list(config, **options), object()
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield cast("CheckpointTuple", item)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        history = self.saver.get_delta_channel_history
        return await asyncio.to_thread(history, config=config, channels=channels)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.saver.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.saver.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.saver.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(self.saver.prune, thread_ids, strategy=strategy)


@dataclass(frozen=True)
class Way:
    """An open saver, and whether graphs on it are run without asyncio."""

    saver: BaseCheckpointSaver[str]
    synchronous: bool = False

    @property
    def asynchronous_saver(self) -> Any:
        """The saver, under asynchronous names."""
        return InThreads(self.saver) if self.synchronous else self.saver

    def compile(self, builder: Builder, **options: Any) -> "Runner":
        """Compile a graph on the saver."""
        return Runner(builder.compile(checkpointer=self.saver, **options), self.synchronous)

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method of the saver by its synchronous name."""
        return await _call(self.saver, name, self.synchronous, *args, **options)

    async def tuples(self, config: RunnableConfig | None, **options: Any) -> list[CheckpointTuple]:
        """List checkpoints, newest first."""
        return cast("list[CheckpointTuple]", await self.call("list", config, **options))


class Runner:
    """A compiled graph whose methods are run asynchronously, or the others in a thread."""

    def __init__(self, graph: CompiledStateGraph[Any, Any, Any, Any], synchronous: bool) -> None:  # noqa: FBT001 - `Way` alone creates it
        self.graph: Any = graph
        self._synchronous = synchronous

    async def run(self, given: Any, config: RunnableConfig, **options: Any) -> Any:
        """Run the graph."""
        return await self._call("invoke", given, config, **options)

    async def stream(self, given: Any, config: RunnableConfig, **options: Any) -> list[Any]:
        """Run the graph, and return all that it streams."""
        return cast("list[Any]", await self._call("stream", given, config, **options))

    async def state(self, config: RunnableConfig, **options: Any) -> StateSnapshot:
        """Read a state."""
        return cast("StateSnapshot", await self._call("get_state", config, **options))

    async def history(self, config: RunnableConfig, **options: Any) -> list[StateSnapshot]:
        """Read all states, newest first."""
        found = await self._call("get_state_history", config, **options)
        return cast("list[StateSnapshot]", found)

    async def update(
        self, config: RunnableConfig, values: Any, as_node: str | None = None
    ) -> RunnableConfig:
        """Write to a state."""
        found = await self._call("update_state", config, values, as_node)
        return cast("RunnableConfig", found)

    async def updates(self, config: RunnableConfig, supersteps: Sequence[Any]) -> RunnableConfig:
        """Write to a state, several times over."""
        found = await self._call("bulk_update_state", config, supersteps)
        return cast("RunnableConfig", found)

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        return await _call(self.graph, name, self._synchronous, *args, **options)


_ITERATING: Final = {"list", "stream", "get_state_history"}


async def _call(target: Any, name: str, synchronous: bool, *args: Any, **options: Any) -> Any:  # noqa: FBT001 - of the two classes above
    """Call a method, or its asynchronous twin; return a list of what it iterates over."""
    called = getattr(target, name if synchronous else f"a{name}")
    if name in _ITERATING:
        if synchronous:
            return await asyncio.to_thread(lambda: list(called(*args, **options)))
        return [found async for found in called(*args, **options)]
    if synchronous:
        return await asyncio.to_thread(called, *args, **options)
    return await called(*args, **options)


def reference(way: Way) -> Way:
    """Return LangGraph's own saver in memory, run as the other is."""
    return Way(InMemorySaver(), way.synchronous)


@asynccontextmanager
async def own(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a saver on a URL with ``async with``; at the end no connection may be in use."""
    async with entered(Saver(product_url(url), **options)) as saver:
        await saver.setup()
        yield Way(saver)
        assert saver._slot.client is not None
        sessions = saver._slot.client._client
        assert isinstance(sessions, EngineClient)
        for engine in (sessions.engine, sessions.reading_engine):
            assert engine is None or cast("QueuePool", engine.pool).checkedout() == 0


@asynccontextmanager
async def own_sync(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a saver on a URL with ``with``."""
    with Saver(sync_product_url(url), **options) as saver:
        await asyncio.to_thread(saver.setup)
        yield Way(saver, synchronous=True)


@asynccontextmanager
async def engine(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a saver on an application's asynchronous engine."""
    async with open_engine(url, GRAPH) as theirs, Saver(engine=theirs, **options) as saver:
        await saver.setup()
        yield Way(saver)


@asynccontextmanager
async def engine_sync(url: str, **options: Any) -> AsyncIterator[Way]:
    """Open a saver on an application's synchronous engine."""
    async with open_sync_engine(url, GRAPH) as theirs:
        with Saver(engine=theirs, **options) as saver:
            await asyncio.to_thread(saver.setup)
            yield Way(saver, synchronous=True)


WAYS: Final[dict[str, Callable[..., AbstractAsyncContextManager[Way]]]] = {
    way.__name__: way for way in (own, own_sync, engine, engine_sync)
}
"""Each by its name; tests that are not about the ways use the first."""
