"""LangGraph's saver on a SQL database."""

import random
from collections.abc import (
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import timedelta
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from threadlog.encoding.validation import check_ids
from threadlog.errors import InvalidInputError
from threadlog.graph import pruning
from threadlog.graph.checkpoints import (
    copy_thread,
    delete_graph_thread,
    list_checkpoints,
    put_checkpoint,
    put_writes,
    read_checkpoint,
    read_history,
)
from threadlog.graph.client import Facade, GraphClient, SyncGraphClient
from threadlog.graph.ownership import claim_writes
from threadlog.graph.pruning import Pruned, Strategy, check_strategy
from threadlog.langgraph.serialization import (
    Target,
    checked_thread_id,
    checkpoint_of_writes,
    config_of,
    decode_history,
    decode_tuple,
    encode_checkpoint,
    encode_writes,
    query_of,
    target_of,
)
from threadlog.repositories.graph.checkpoint import CheckpointQuery

# Threads that are read at a time.
_THREADS: Final = 100


class Saver(Facade, BaseCheckpointSaver[str]):
    """Stores the checkpoints of LangGraph's graphs, with the guarantees of a `Checkpointer`.

    A context manager for both ``async with`` and ``with``, one at a time. Inside ``async with``
    use the graph's asynchronous methods, inside ``with`` the others::

        async with Saver("mysql://user:password@host/database") as saver:
            await saver.setup()
            graph = builder.compile(checkpointer=saver)
            await graph.ainvoke(state, {"configurable": {"thread_id": "order-17"}})

    Inside ``async with`` the synchronous methods work too, in other threads than the loop's.

    Any number of tasks, threads and processes may use one database; only the database's locks make
    one wait for another. A method's writes are one transaction, those of `prune`,
    `prune_older_than` and `delete_for_runs` one for each thread: when it returns they are durable,
    when it raises nothing was written of that transaction. After a deadlock, a lock timeout or
    a lost connection the transaction is run again.

    Threads' ids have up to 255 characters; names of namespaces and channels may be of any
    length and contain anything but NUL. Nothing is ever truncated.

    Each method may also raise `InvalidInputError` if a value cannot be stored as it is,
    `CheckpointCorruptionError` if a stored value cannot be read, `StorageError`, and
    `NotOpenError` outside the block.
    """

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | Engine | None = None,
        client: GraphClient | SyncGraphClient | None = None,
        serde: SerializerProtocol | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
    ) -> None:
        """Create a saver; nothing connects before the block.

        Args:
            url: as for `threadlog.Checkpointer`.
            engine: an engine of the application's, in place of a URL: an ``AsyncEngine`` for
                ``async with``, an ``Engine`` for ``with``.
            client: a client that its owner opens and closes, in place of a URL; the saver
                then needs no block.
            serde: LangGraph's serialiser by default; its ``EncryptedSerializer``
                encrypts all but ids, names and metadata.
            min_pool_size: connections to a URL that are opened on entering.
            max_pool_size: the most connections to a URL at once; further operations wait.
            retry_seconds: as for `threadlog.Checkpointer`.

        Raises:
            ConfigurationError: none or several of the first three are given, or one cannot be
                used.
        """
        BaseCheckpointSaver.__init__(self, serde=serde)
        self._connect_to(
            url,
            engine,
            client,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
            retry_seconds=retry_seconds,
        )

    # --- Write ownership -------------------------------------------------------------

    def claim_write_ownership(self, thread_id: str) -> "OwningSaver":
        """Claim the writes of a thread, and return a saver of their owner to run a graph on.

        From now on `put` and `put_writes` of every earlier owner of the thread raise
        `WriteOwnershipLostError`, whatever they were about to do. The name and the rules are
        those proposed for LangGraph's conformance suite. A saver that claimed nothing writes to
        every thread, as without this method: all writers of a thread have to claim it.

        Owners have no lease: who may take a thread over is for the application to decide, such
        as by `threadlog.Checkpointer.claim_run` with a lease.

        Args:
            thread_id: the thread, which need not exist.

        Returns:
            A saver with the same connections. It writes to this thread only, and reads, deletes
            and copies as any other; deleting the thread ends the ownership.
        """
        key = checked_thread_id(thread_id)
        return OwningSaver(self._opened(), self.serde, key, self._write(claim_writes, key))

    async def aclaim_write_ownership(self, thread_id: str) -> "OwningSaver":
        """See `claim_write_ownership`."""
        client, key = self._async_client(), checked_thread_id(thread_id)
        return OwningSaver(client, self.serde, key, await client.write(claim_writes, key))

    # --- Writing ---------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, and the values of its channels that have a new version.

        One transaction; on PostgreSQL it is one statement. Storing it again changes nothing.

        Args:
            config: names the thread, the namespace and the checkpoint before this one.
            checkpoint: the checkpoint.
            metadata: stored with what the run was configured with, and its id.
            new_versions: the versions, by channel, of values that are not stored yet.

        Returns:
            The config that names this checkpoint.
        """
        client = self._opened()
        row, blobs = encode_checkpoint(self.serde, config, checkpoint, metadata, new_versions)
        token = self._token_for(row.thread_id)
        self._put(put_checkpoint, row, blobs, token, single=client.joins_inserts and token is None)
        return config_of(Target(row.thread_id, row.checkpoint_ns, row.checkpoint_id))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """See `put`."""
        client = self._async_client()
        row, blobs = encode_checkpoint(self.serde, config, checkpoint, metadata, new_versions)
        token = self._token_for(row.thread_id)
        single = client.joins_inserts and token is None
        await client.put(put_checkpoint, row, blobs, token, single=single)
        return config_of(Target(row.thread_id, row.checkpoint_ns, row.checkpoint_id))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote after a checkpoint.

        One statement stores all writes. A write that is stored already stays as it is;
        errors, interrupts, resumes and schedules replace what is stored.

        Args:
            config: names the checkpoint from which the task ran.
            writes: channels' names, and the values written to them, in order.
            task_id: the task, in up to 128 characters.
            task_path: its place among the tasks of the step.
        """
        self._opened()
        key = checkpoint_of_writes(config)
        rows = encode_writes(self.serde, writes, task_id, task_path)
        token = self._token_for(key[0])
        self._put(put_writes, *key, rows, token, single=token is None)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """See `put_writes`."""
        client = self._async_client()
        key = checkpoint_of_writes(config)
        rows = encode_writes(self.serde, writes, task_id, task_path)
        token = self._token_for(key[0])
        await client.put(put_writes, *key, rows, token, single=token is None)

    def _token_for(self, thread_id: str) -> int | None:
        """Return the token of a thread's owner for a write to it; None without ownership."""
        return None

    # --- Reading ---------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint with its channels' values and its tasks' writes, in one statement.

        Args:
            config: names the checkpoint, or only thread and namespace for the newest.

        Returns:
            The checkpoint, its writes ordered by (task_path, task_id, idx); None if not
            found.
        """
        self._opened()
        stored = self._read(read_checkpoint, *target_of(config))
        return None if stored is None else decode_tuple(self.serde, stored)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `get_tuple`."""
        client = self._async_client()
        stored = await client.read(read_checkpoint, *target_of(config))
        return None if stored is None else decode_tuple(self.serde, stored)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Iterate checkpoints, newest first, in constant memory.

        They are read a page at a time; between pages no connection is held.

        Args:
            config: names the thread, and the namespace and the checkpoint if only those are
                wanted; None for all threads.
            filter: members that the metadata must have, with these values; None counts as
                missing.
            before: only those older than this checkpoint.
            limit: at most so many.
        """
        query: CheckpointQuery | None = query_of(config, filter, before, limit)
        while query is not None and query.page_length > 0:
            page = self._read(list_checkpoints, query)
            for stored in page:
                yield decode_tuple(self.serde, stored)
            query = query.following(page)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """See `list`."""
        query: CheckpointQuery | None = query_of(config, filter, before, limit)
        while query is not None and query.page_length > 0:
            page = await self._async_client().read(list_checkpoints, query)
            for stored in page:
                yield decode_tuple(self.serde, stored)
            query = query.following(page)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what the values of delta channels add up from, along a checkpoint's ancestors.

        Args:
            config: names the checkpoint, or only thread and namespace for the newest.
            channels: the channels' names.

        Returns:
            For each channel ``writes``, oldest first, and ``seed``, the value of the nearest
            ancestor that has one.
        """
        if not channels:
            return {}
        target = target_of(config)
        ancestry, history = self._read(read_history, *target, channels)
        return decode_history(self.serde, target.thread_id, channels, ancestry, history)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """See `get_delta_channel_history`."""
        if not channels:
            return {}
        target = target_of(config)
        ancestry, history = await self._async_client().read(read_history, *target, channels)
        return decode_history(self.serde, target.thread_id, channels, ancestry, history)

    # --- Deleting and copying --------------------------------------------------------

    def delete_thread(self, thread_id: str) -> None:
        """Delete all of a thread, in one transaction."""
        self._write(delete_graph_thread, checked_thread_id(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """See `delete_thread`."""
        await self._async_client().write(delete_graph_thread, checked_thread_id(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs made, with their writes and what only they refer to.

        Each thread is one transaction. The value of a delta channel that added up from them is
        lost to later checkpoints: LangGraph says so of every saver.

        Args:
            run_ids: the runs, of whichever threads.
        """
        ids = check_ids(run_ids, "run_ids")
        for thread_id in self._read(pruning.threads_of_runs, ids):
            self._write(pruning.delete_for_run, thread_id, ids)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """See `delete_for_runs`."""
        ids = check_ids(run_ids, "run_ids")
        for thread_id in await self._async_client().read(pruning.threads_of_runs, ids):
            await self._async_client().write(pruning.delete_for_run, thread_id, ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread, inside the database and in one transaction.

        Args:
            source_thread_id: the thread.
            target_thread_id: the copy, of which nothing may be stored.

        Raises:
            ThreadAlreadyExistsError: something is.
        """
        source, target = map(checked_thread_id, (source_thread_id, target_thread_id))
        self._write(copy_thread, source, target)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """See `copy_thread`."""
        source, target = map(checked_thread_id, (source_thread_id, target_thread_id))
        await self._async_client().write(copy_thread, source, target)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints of threads, each thread in one transaction.

        Args:
            thread_ids: the threads.
            strategy: ``keep_latest`` keeps the newest checkpoint of each namespace, and those
                of its ancestors that values of delta channels add up from; ``delete`` keeps
                nothing.
        """
        chosen = check_strategy(strategy)
        for thread_id in check_ids(thread_ids, "thread_ids"):
            self._write(pruning.prune, thread_id, chosen)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """See `prune`."""
        chosen = check_strategy(strategy)
        for thread_id in check_ids(thread_ids, "thread_ids"):
            await self._async_client().write(pruning.prune, thread_id, chosen)

    def prune_older_than(
        self, age: timedelta, *, strategy: Strategy = "keep_latest", dry_run: bool = False
    ) -> Pruned:
        """Delete checkpoints of all threads that were stored so long ago.

        By the database's clock; each thread is one transaction. A run that goes on from an
        old checkpoint at this moment loses it.

        Args:
            age: how long ago.
            strategy: ``keep_latest`` keeps the newest checkpoint of each namespace whatever its
                age, and what values of delta channels add up from; ``delete`` deletes threads
                all of whose checkpoints are old, and leaves the others alone.
            dry_run: delete nothing, count threads and checkpoints.

        Returns:
            The counts of what was deleted, or would be.
        """
        total, after = Pruned(), None
        while threads := self._read(pruning.old_threads, age, after=after, limit=_THREADS):
            for thread_id in threads:
                total += self._write(pruning.prune_older, thread_id, age, strategy, dry_run=dry_run)
            after = threads[-1]
        return total

    async def aprune_older_than(
        self, age: timedelta, *, strategy: Strategy = "keep_latest", dry_run: bool = False
    ) -> Pruned:
        """See `prune_older_than`."""
        total, after = Pruned(), None
        while threads := await self._async_client().read(
            pruning.old_threads, age, after=after, limit=_THREADS
        ):
            for thread_id in threads:
                total += await self._async_client().write(
                    pruning.prune_older, thread_id, age, strategy, dry_run=dry_run
                )
            after = threads[-1]
        return total

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a channel's next version: a text that sorts after the current one.

        Two branches of a thread count alike, so a random part keeps their versions apart.
        """
        count = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{count + 1:032}.{random.random():016}"  # noqa: S311 - no secret


class OwningSaver(Saver):
    """A saver whose writes are those of a thread's owner; see `Saver.claim_write_ownership`.

    It uses the connections of the saver that claimed, and works as long as that one is open. With
    each `put` and `put_writes` one statement more checks the owner, in the same transaction.
    """

    def __init__(
        self,
        client: GraphClient | SyncGraphClient,
        serde: SerializerProtocol,
        thread_id: str,
        token: int,
    ) -> None:
        """Create the saver; `Saver.claim_write_ownership` does."""
        super().__init__(client=client, serde=serde)
        self._thread_id, self._token = thread_id, token

    def _token_for(self, thread_id: str) -> int | None:
        """Return the token for a write to a thread.

        Raises:
            InvalidInputError: it is not the owned thread.
        """
        if thread_id != self._thread_id:
            raise InvalidInputError(
                f"This saver owns the writes of thread {self._thread_id!r} and cannot write to "
                f"{thread_id!r}. Claim the writes of that thread, or use the saver without a claim."
            )
        return self._token
