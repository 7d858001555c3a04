"""The ways to have a saver, each made to look like the asynchronous one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
from sqlalchemy import Connection, QueuePool, inspect

from tests.support.databases import on_connection
from tests.support.ways import host_engine, sync_host_engine
from threadlog.langgraph import Saver
from threadlog.models import GRAPH, graph_metadata
from threadlog.runtime.client import EngineClient


class InThreads(BaseCheckpointSaver[str]):
    """Runs the synchronous methods of a saver in threads, under asynchronous names."""

    def __init__(self, saver: Saver) -> None:
        """Take a saver that was entered with ``with``."""
        super().__init__(serde=saver.serde)
        self.saver = saver

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Put."""
        arguments = (config, checkpoint, metadata, new_versions)
        return await asyncio.to_thread(self.saver.put, *arguments)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Put writes."""
        await asyncio.to_thread(self.saver.put_writes, config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Get a tuple."""
        return await asyncio.to_thread(self.saver.get_tuple, config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        """List."""
        items, end = self.saver.list(config, **options), object()
        while (item := await asyncio.to_thread(next, items, end)) is not end:
            yield cast("CheckpointTuple", item)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Get a history."""
        return await asyncio.to_thread(
            lambda: self.saver.get_delta_channel_history(config=config, channels=channels)
        )

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread."""
        await asyncio.to_thread(self.saver.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete for runs."""
        await asyncio.to_thread(self.saver.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread."""
        await asyncio.to_thread(self.saver.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Prune."""
        await asyncio.to_thread(lambda: self.saver.prune(thread_ids, strategy=strategy))

    async def aprune_older_than(self, *args: Any, **options: Any) -> Any:
        """Prune by age."""
        return await asyncio.to_thread(lambda: self.saver.prune_older_than(*args, **options))


async def ensure_graph_schema(url: str) -> None:
    """Create the tables of an SQLite file, which a host's own engine is not given."""

    def create(connection: Connection) -> None:
        if inspect(connection).has_table(GRAPH.version_table.name):
            return
        graph_metadata.create_all(connection)
        connection.exec_driver_sql(f"INSERT INTO {GRAPH.version_table} VALUES ({GRAPH.version})")

    if url.startswith("sqlite"):
        await on_connection(url, create)


@asynccontextmanager
async def own(url: str, **options: Any) -> AsyncIterator[Saver]:
    """Give a saver on a URL; at the end no connection may be in use."""
    async with Saver(url, **options) as saver:
        yield saver
        door = saver._slot.client
        assert door is not None
        sessions = door._client
        assert isinstance(sessions, EngineClient)
        for engine in (sessions.engine, sessions.reading_engine):
            assert engine is None or cast("QueuePool", engine.pool).checkedout() == 0


@asynccontextmanager
async def own_sync(url: str, **options: Any) -> AsyncIterator[InThreads]:
    """Give a synchronous saver on a URL."""
    with Saver(url, **options) as saver:
        yield InThreads(saver)


@asynccontextmanager
async def hosts(url: str, **options: Any) -> AsyncIterator[Saver]:
    """Give a saver on an asynchronous engine of the host's."""
    await ensure_graph_schema(url)
    engine = host_engine(url)
    try:
        async with Saver(engine=engine, **options) as saver:
            yield saver
            assert cast("QueuePool", engine.pool).checkedout() == 0
    finally:
        await engine.dispose()


@asynccontextmanager
async def hosts_sync(url: str, **options: Any) -> AsyncIterator[InThreads]:
    """Give a saver on a synchronous engine of the host's."""
    await ensure_graph_schema(url)
    engine = sync_host_engine(url)
    try:
        with Saver(engine=engine, **options) as saver:
            yield InThreads(saver)
            assert cast("QueuePool", engine.pool).checkedout() == 0
    finally:
        engine.dispose()


WAYS: Final[dict[str, Callable[..., AbstractAsyncContextManager[Any]]]] = {
    "own": own,
    "own_sync": own_sync,
    "hosts": hosts,
    "hosts_sync": hosts_sync,
}
