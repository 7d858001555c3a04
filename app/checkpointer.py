"""The asynchronous checkpointer of the message log."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Self, TypeVar, cast, overload

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session

from threadlog.databases.base import PoolSize
from threadlog.encoding.validation import check_count, check_id
from threadlog.encryption import Encryption
from threadlog.erasing import Erased, Forks, NamespacePrefix, OwnerErasure, erase
from threadlog.errors import ConfigurationError, ThreadlogError
from threadlog.log import (
    forks,
    hitl_answers,
    leases,
    pending_requests,
    reading,
    reencryption,
    runs,
    threads,
    truncations,
)
from threadlog.log.append import AppendRequest, append_messages, append_together, encode_append
from threadlog.log.conditions import NO_CONDITIONS, AppendConditions
from threadlog.log.framework_types import VOCABULARY, DataT, FrameworkTypes, RequestT, SeqsT
from threadlog.log.message_codec import MessageT
from threadlog.log.results import (
    Claim,
    PruneSummary,
    RunSummary,
    StoredMessage,
    ThreadSummary,
    TruncationSummary,
)
from threadlog.log.retention import Pruning
from threadlog.models import MESSAGES
from threadlog.repositories.log.thread import ThreadOrder
from threadlog.runtime.batcher import Batcher
from threadlog.runtime.client import (
    AsyncClient,
    EngineClient,
    ExternalClient,
    FactoryClient,
    client_of,
)
from threadlog.runtime.transactions import Operation, ping
from threadlog.schema.opening import open_client, verify_log, with_encryption
from threadlog.scoped_client import ScopedClient

if TYPE_CHECKING:
    from threadlog.exporting import ExportFormat


P = ParamSpec("P")
T = TypeVar("T")


class MessageLog(Generic[MessageT, RequestT, DataT, SeqsT]):
    """The operations on a message log; open a `Checkpointer` to get one.

    A method's writes are in one transaction, unless its description says otherwise. Every method
    may raise `StorageError`, and `NotOpenError` if the checkpointer is not open.
    """

    # threadlog's own classes, unless a subclass names others together with its type arguments.
    vocabulary: FrameworkTypes[MessageT, RequestT, DataT] = cast("Any", VOCABULARY)
    """The classes of messages, questions and threads; a subclass may set those of a framework."""

    client: AsyncClient | ScopedClient
    """Runs the operations on the database."""

    batcher: Batcher[AppendRequest, range] | None = None
    """Runs the appends; None while closed, and on sessions of an application."""
    _scope: str | None = None

    @property
    def is_open(self) -> bool:
        """True if the checkpointer is open."""
        return self.client.is_open

    async def load(
        self, thread_id: str, *, last: int | None = None, whole_turns: bool = False
    ) -> DataT | None:
        """Read a thread: its messages, `extra` and parent, all of one point in time.

        Args:
            thread_id: the thread.
            last: read only this many of the newest messages.
            whole_turns: with `last`, read also the messages before them back to the nearest
                user message, so that no tool result is without its call.

        Returns:
            The thread with its messages in seq order; None if not found.

        Raises:
            InvalidIdError: `thread_id` cannot be a key.
            CheckpointCorruptionError: a row cannot be read; none is ever skipped.
        """
        return await self._read(
            reading.load, self.vocabulary, thread_id, last=last, whole_turns=whole_turns
        )

    async def append(
        self,
        thread_id: str,
        messages: Sequence[MessageT],
        *,
        owner: str | None = None,
        if_last_seq: int | None = None,
        key: str | None = None,
        claim: Claim | None = None,
    ) -> SeqsT:
        """Append messages to a thread, which is created if it does not exist: all of them or none.

        They get the next seqs of the thread, without gap, in the order given. Seqs are
        allocated under a lock on the thread's row: appends of any number of processes to
        one thread follow one another, those to different threads do not wait. An empty
        list does nothing, without a connection, also before the checkpointer is opened.

        With a URL, appends of this checkpointer that wait at the same moment share a
        transaction, and those to one thread are stored in the order of the calls. Each
        returns when its own messages are durable; a refused append does not affect the others.

        If the connection is lost during COMMIT, the messages are looked for, byte for byte,
        at the seqs that they had been given, under the thread's lock: they are stored once.
        Two cases look the same: identical messages that another writer put
        at those very seqs in the moment between, which are taken for these; and a thread that
        was deleted in that moment, which is created again with them. Messages that were truncated
        in that moment are appended again, unless the append has a `key`.

        The keyword arguments are conditions, checked under the same lock; the append then has a
        transaction of its own. `owner`, `key` and `claim` need the tables of thread control
        (`threadlog migrate --part control`).

        Args:
            thread_id: the thread.
            messages: messages of the three classes of `vocabulary`.
            owner: the owner of the thread, which a thread without an owner gets.
            if_last_seq: the seq of the last message that the caller knows; 0 for no message.
                Nothing is stored if the thread ends elsewhere.
            key: a name for this append, unique in its thread. Called again with it, by whatever
                process, the same messages are not stored again, and the seqs are those of the
                first call. Keys are kept until `threadlog prune` removes them, after 30 days if
                nothing else is asked for.
            claim: a claim with a lease. Nothing is stored if the lease was taken over.

        Returns:
            The seqs of the messages.

        Raises:
            RunAlreadyCompletedError: a message belongs to a completed run.
            ThreadOwnedError: the thread belongs to another owner.
            ThreadChangedError: the thread does not end at `if_last_seq`.
            AppendKeyReusedError: the key was used for other messages.
            LeaseLostError: the claim's lease was taken over.
            CubepiSchemaUninitialized: the database has no tables of thread control.
            InvalidIdError: `thread_id` cannot be a key.
            InvalidInputError: `messages` is not a list of messages.
            InvalidMessageError: a message cannot be stored.
            TooLargeError: a message does not fit into a statement.
            CommitOutcomeUnknownError: the connection was lost during COMMIT, and again
                in each attempt to find the messages.
        """
        # SeqsT is None where a framework's own append returns nothing: only for type checkers.
        given = (owner, if_last_seq, key, claim, self._scope)
        conditions = None if given == NO_CONDITIONS else AppendConditions(*given)
        batcher = self.batcher
        if batcher is None:
            if isinstance(messages, list | tuple) and not messages:
                return cast("SeqsT", [])
            seqs = await self._write(
                append_messages, self.vocabulary, thread_id, messages, conditions
            )
            return cast("SeqsT", seqs)
        try:
            limit = batcher.pool.runner.facts.statement_limit
            request = encode_append(self.vocabulary, thread_id, messages, limit, conditions)
            seqs = [] if request is None else list(await batcher.submit(request))
        except ThreadlogError as error:
            self._convert(error)
            raise
        return cast("SeqsT", seqs)

    async def save_extra(
        self,
        thread_id: str,
        extra: dict[str, Any],
        *,
        owner: str | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Merge values into a thread's `extra`; the thread is created if it does not exist.

        The merge is that of ``dict.update``, under a lock on the thread's row: top-level
        keys replace, None is kept as null, nested objects are replaced and not merged.

        Args:
            thread_id: the thread.
            extra: a dict of JSON values.
            owner: the owner of the thread, which a thread without an owner gets.
            claim: a claim with a lease. Nothing is stored if the lease was taken over.

        Raises:
            ThreadOwnedError: the thread belongs to another owner.
            LeaseLostError: the claim's lease was taken over.
            InvalidIdError: `thread_id` cannot be a key.
            InvalidJsonError: `extra` is not a JSON object that every database can store.
            TooLargeError: `extra` does not fit into a statement.
        """
        await self._write(threads.save_extra, thread_id, extra, owner=owner, claim=claim)

    async def read(
        self,
        thread_id: str,
        *,
        after_seq: int = 0,
        before_seq: int | None = None,
        limit: int | None = None,
    ) -> list[StoredMessage[MessageT]]:
        """Read messages with their seq and time, to page or to follow a thread.

        Args:
            thread_id: the thread.
            after_seq: read only messages with a higher seq.
            before_seq: read only messages with a lower seq, and with `limit` the last of them: the
                page before the message of that seq. `threadlog.END_OF_THREAD` for the newest page.
            limit: read at most this many.

        Returns:
            The messages in seq order; an empty list if there are none.

        Raises:
            CheckpointCorruptionError: a row cannot be read.
        """
        return await self._read(
            reading.read,
            self.vocabulary,
            thread_id,
            after_seq=after_seq,
            before_seq=before_seq,
            limit=limit,
        )

    async def stream(
        self, thread_id: str, *, after_seq: int = 0, batch_size: int = 500
    ) -> AsyncIterator[StoredMessage[MessageT]]:
        """Iterate a thread of any length in constant memory.

        Between batches no connection is held, so a slow consumer blocks no writer; messages
        that are appended meanwhile are included.

        Args:
            thread_id: the thread.
            after_seq: start after this seq.
            batch_size: messages to read at a time.

        Raises:
            InvalidInputError: `batch_size` is not a positive int.
            CheckpointCorruptionError: a row cannot be read; those before it were yielded.
        """
        check_count(batch_size, "batch_size", least=1)
        while batch := await self.read(thread_id, after_seq=after_seq, limit=batch_size):
            for stored in batch:
                yield stored
            after_seq = batch[-1].seq

    async def list_threads(
        self,
        *,
        owner: str | None = None,
        waiting: bool = False,
        after: ThreadSummary | str | None = None,
        limit: int = 100,
        order: ThreadOrder = "id",
    ) -> list[ThreadSummary]:
        """List threads, a page at a time, without counting messages.

        Args:
            owner: list only the threads of this owner.
            waiting: list only threads with a pending question.
            after: the last summary of the previous page; with ``order="id"`` its thread id
                is enough.
            limit: the length of a page.
            order: ``"id"``, in the order of the database's binary collation, or ``"recent"``,
                last written to first.

        Returns:
            Up to `limit` threads; fewer mean that there are no more.
        """
        return await self._read(
            threads.list_threads,
            owner=owner,
            waiting=waiting,
            after=after,
            limit=limit,
            order=order,
        )

    async def export(
        self,
        *,
        threads: Sequence[str] | None = None,
        owner: str | None = None,
        memories: Sequence[Sequence[str]] | None = None,
        format: "ExportFormat" = "jsonl",  # noqa: A002 - the name of the command line's option
    ) -> AsyncIterator[bytes]:
        """Iterate the lines of an export, for a copy of everything that is stored.

        The lines of ``jsonl`` have every row of a thread, in all parts of the schema that the
        database has: messages, runs, the open question, answers, times, owner, append keys,
        truncations, checkpoints of graphs, and the rows of a server's threads and runs.
        ``threadlog import`` reads them back equal. Leases are not exported. The other formats have
        one conversation in each line, with ``thread_id`` and ``extra``.

        Memory does not grow with the database, nor with the length of a thread: a thread that is
        longer than a few megabytes goes through a temporary file. (The other formats hold one
        thread.) Between threads no connection is held.

        All rows of a thread are of one point in time. Messages that are appended meanwhile are in
        the lines if their thread is read later. In a session of the application this is so if its
        transaction reads at REPEATABLE READ or above.

        Args:
            threads: export only these.
            owner: export only the threads of this owner.
            memories: export the items of the memory store below these namespaces, such as
                ``[("users", "ann")]``; None for all items if all threads are exported, else none.
            format: ``jsonl``, or a format of `threadlog.formats` such as ``openai_chat``.

        Returns:
            Lines in UTF-8, each with its line feed.

        Raises:
            ThreadNotFoundError: one of `threads` does not exist.
            InvalidInputError: memories are requested in the scope of an owner: they have none.
            CheckpointCorruptionError: a message cannot be read, for another format than ``jsonl``.
            EncryptionError: a value cannot be decrypted; its thread and those after it are missing.
        """
        from threadlog.exporting import Export  # noqa: PLC0415 - few programs export, all import this

        with Export(threads, owner, memories, format) as running:
            while await self._read(running.step):
                for line in running.lines():
                    yield line

    async def delete_thread(self, thread_id: str, *, detach_forks: bool = False) -> bool:
        """Delete a thread with its messages, runs and answers, in one transaction.

        Args:
            thread_id: the thread.
            detach_forks: keep its forks, which lose their link to it.

        Returns:
            True if the thread existed.

        Raises:
            ThreadHasForksError: it has forks and they were not to be detached.
            ThreadReferencedError: a foreign key of the application's leads to it.
        """
        return await self._write(threads.delete_thread, thread_id, detach_forks=detach_forks)

    async def erase_thread(
        self,
        thread_id: str,
        *,
        memories: Sequence[NamespacePrefix] = (),
        forks: Forks = "refuse",
        dry_run: bool = False,
    ) -> Erased:
        """Erase a thread from all parts of the schema that the database has, in one transaction.

        Deleted are its messages, `extra`, question, runs and answers, its owner, leases, keys of
        appends and truncations, its rows of the search index, the checkpoints, values, writes and
        write owner of the graph with this thread id, and the thread and runs of a server with
        this id. The transaction then counts the thread's rows in all these tables, and fails
        unless there are none. An id of which only a graph or a server has rows is erased too.

        A fork has copies of the thread's messages. By default a thread with forks is refused.

        An append that waits for the thread meanwhile creates it again with its own messages, as
        after `delete_thread`; one with a claim, or with ``if_last_seq`` above 0, is refused. So
        is a saver that owns the writes of the graph; any other saver may store more. Stop the
        thread's writers first.

        Args:
            thread_id: the thread.
            memories: namespaces of the memory store, as ``[("users", "42")]``: their items, and
                those of all namespaces below, are erased in another transaction.
            forks: ``"refuse"`` raises; ``"erase"`` erases forks first, each in a transaction of
                its own; ``"detach"`` keeps them, with their copies, without their link.
            dry_run: erase nothing; count the rows.

        Returns:
            The ids of the erased threads, and the number of rows of each table.

        Raises:
            ThreadHasForksError: it has forks that are not to be erased or detached.
            ThreadReferencedError: a foreign key of the application's leads to it; nothing of
                the thread was erased.
            ErasureIncompleteError: other transactions add rows as fast as they are deleted.
            CubepiSchemaMismatch: a part of the schema has another version.
            InvalidInputError: `memories` has something that is not a namespace.
        """
        return await self._write(
            erase.erase_thread, thread_id, memories=memories, forks=forks, dry_run=dry_run
        )

    @overload
    async def claim_run(self, thread_id: str, run_id: str, *, owner: str | None = None) -> None: ...

    @overload
    async def claim_run(
        self, thread_id: str, run_id: str, *, owner: str | None = None, lease: timedelta
    ) -> Claim: ...

    async def claim_run(
        self,
        thread_id: str,
        run_id: str,
        *,
        owner: str | None = None,
        lease: timedelta | None = None,
    ) -> Claim | None:
        """Claim a run: of any number of callers that claim it at once, one succeeds.

        The claim stays open until `mark_run_complete`, in whatever process; the thread is
        created if it does not exist.

        With `lease` it also ends by itself. After that time another caller may claim the run,
        which takes it over: writes with the earlier claim raise `LeaseLostError`. Until then the
        earlier claim may still write, as nobody else works on the run. The time is that of the
        database's clock. A run that was claimed without a lease is never taken over.

        Args:
            thread_id: the thread.
            run_id: a name for the run, unique in its thread; compared byte by byte.
            owner: the owner of the thread, which a thread without an owner gets.
            lease: how long the claim lasts unless it is renewed; needs the tables of thread
                control (`threadlog migrate --part control`).

        Returns:
            With `lease` the claim, to pass to the methods that write; None without.

        Raises:
            ThreadOwnedError: the thread belongs to another owner.
            RunAlreadyClaimedError: the run is open, and its lease, if it has one, has not ended.
            RunAlreadyCompletedError: it is completed.
            InvalidInputError: `lease` is not a timedelta of more than 0 and at most 365 days.
            CubepiSchemaUninitialized: the database has no tables of thread control.
            CommitOutcomeUnknownError: it may be claimed, by this call or by another: check
                `runs`, and use ids that no other caller uses. Not with a lease, of which threadlog
                finds out whose it is.
        """
        return await self._write(runs.claim_run, thread_id, run_id, owner=owner, lease=lease)

    async def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
        """Renew a claim's lease, which then lasts for `lease` from now on.

        Also a lease that has ended, as long as nobody took the run over.

        Args:
            claim: a claim from `claim_run` with a lease, or from `renew`.
            lease: how long the claim lasts from now on, by the database's clock.

        Returns:
            The claim with its new end. The earlier one has the same token and still works.

        Raises:
            LeaseLostError: the run was taken over or released.
            InvalidInputError: `claim` is no claim, or `lease` is not a timedelta of more than 0
                and at most 365 days.
        """
        return await self._write(leases.renew, claim, lease=lease)

    async def release(self, claim: Claim) -> None:
        """End a claim, so that the run can be claimed again at once; its messages stay.

        Does nothing if the run is completed, or was taken over or released: a worker can call it
        whatever happened.

        Args:
            claim: a claim from `claim_run` with a lease, or from `renew`.

        Raises:
            InvalidInputError: `claim` is no claim.
        """
        await self._write(leases.release, claim)

    async def mark_run_complete(
        self, thread_id: str, run_id: str, *, claim: Claim | None = None
    ) -> None:
        """Complete a run, which becomes the last of its thread's completed runs.

        Nothing can be added to it afterwards. On a completed run it does nothing.

        Args:
            thread_id: the thread.
            run_id: the run.
            claim: a claim of the run with a lease.

        Raises:
            RunNotClaimedError: the run is not claimed.
            LeaseLostError: the claim's lease was taken over.
        """
        await self._write(runs.mark_run_complete, thread_id, run_id, claim=claim)

    async def release_run(
        self,
        thread_id: str,
        run_id: str,
        *,
        older_than: timedelta | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Release the claim of a run whose process died, so that it can be claimed again.

        The run's messages stay; claim it next, as nothing lists it in between. A process that
        is alive after all gets `RunNotClaimedError` when it completes the run; if it has a lease,
        `LeaseLostError` when it writes.

        Args:
            thread_id: the thread.
            run_id: the run.
            older_than: release it only if `stale_runs` would list it for the same age: not if
                it waits for an answer or has a lease that lasts, and not if another process has
                recovered it meanwhile. None releases any open run.
            claim: a claim of the run with a lease. See `release`, which raises nothing if the
                claim has ended already.

        Raises:
            RunNotClaimedError: the run is not claimed.
            RunAlreadyCompletedError: it is completed.
            RunAlreadyClaimedError: it is not as old as that.
            LeaseLostError: the claim's lease was taken over.
            InvalidInputError: `older_than` is not a timedelta, or is negative.
            CommitOutcomeUnknownError: the run is claimed: still, or again by another call.
        """
        await self._write(runs.release_run, thread_id, run_id, older_than=older_than, claim=claim)

    async def runs(self, thread_id: str) -> list[RunSummary]:
        """List a thread's runs with their state and times, first claimed (to the second) first."""
        return await self._read(runs.runs, thread_id)

    async def stale_runs(
        self, older_than: timedelta, *, owner: str | None = None
    ) -> list[RunSummary]:
        """List the runs of all threads whose process seems dead, first claimed first.

        A run is listed if it is open, waits for no answer, and was neither claimed nor appended to
        within `older_than`. A run with a lease is listed once its lease has ended, and not before.
        Reads all runs: for operators and nightly jobs.

        Args:
            older_than: the minimum time since the last claim or append of a run without a lease;
                rounded up to seconds.
            owner: list only runs of this owner's threads.

        Raises:
            InvalidInputError: `older_than` is not a timedelta, or is negative.
        """
        return await self._read(runs.stale_runs, older_than, owner=owner)

    async def snapshot(
        self, thread_id: str, *, after_run_id: str | None = None, at_seq: int | None = None
    ) -> list[MessageT]:
        """Read the messages that a fork would copy, all of one point in time.

        With `after_run_id` these are the messages without a run id, and those of runs completed
        at or before that run; messages of other runs in between are not included. With `at_seq`
        they are all messages up to that seq.

        Args:
            thread_id: the thread.
            after_run_id: the last run to include.
            at_seq: the seq of the last message to include, in place of `after_run_id`.

        Returns:
            The messages in seq order.

        Raises:
            ThreadNotFoundError: there is no such thread.
            RunNotCompletedError: `after_run_id` is open, or unknown.
            InvalidInputError: not exactly one of `after_run_id` and `at_seq` is given.
            CheckpointCorruptionError: a row cannot be read.
        """
        return await self._read(
            forks.snapshot, self.vocabulary, thread_id, after_run_id=after_run_id, at_seq=at_seq
        )

    async def fork(
        self,
        src_thread_id: str,
        new_thread_id: str,
        *,
        after_run_id: str | None = None,
        at_seq: int | None = None,
        metadata: dict[str, Any] | None = None,
        owner: str | None = None,
    ) -> None:
        """Copy a part of a thread to a new one, in one transaction.

        The copy is made inside the database. It has the messages that `snapshot` returns, with
        their seqs and times, the runs completed up to there, `extra` and the owner; not the
        pending question and no answers. The source is locked against appends meanwhile.

        With `at_seq` a run is copied as completed if it is completed and has no message after
        `at_seq`. Messages of other runs keep their run id: in the fork nobody has claimed these
        runs, and `claim_run` can.

        Args:
            src_thread_id: the thread to fork.
            new_thread_id: the fork's id; no such thread may exist.
            after_run_id: the last run to copy; only finished runs are copied.
            at_seq: the seq of the last message to copy, in place of `after_run_id`; 0 copies none.
            metadata: a dict of JSON values that the fork's ``extra["fork"]`` is set to.
            owner: the owner of the source; of the fork too, if the source has no owner.

        Raises:
            ThreadOwnedError: the source belongs to another owner.
            ThreadNotFoundError: there is no source.
            RunNotCompletedError: `after_run_id` is open, or unknown.
            InvalidInputError: not exactly one of `after_run_id` and `at_seq` is given.
            ThreadAlreadyExistsError: there is a thread `new_thread_id`; of simultaneous forks
                to one id, one succeeds.
            InvalidJsonError: `metadata` is not a JSON object that every database can store.
            TooLargeError: `extra` does not fit into a statement.
            CheckpointCorruptionError: the source's `extra` cannot be read.
        """
        await self._write(
            forks.fork,
            src_thread_id,
            new_thread_id,
            after_run_id=after_run_id,
            at_seq=at_seq,
            metadata=metadata,
            owner=owner,
        )

    async def reencrypt(self, thread_id: str) -> int:
        """Encrypt the values of a thread anew that are not encrypted with the current key.

        With `allow_plain` also those in plain text, and with `metadata` the messages whose metadata
        is in its column. Each batch is a transaction under the thread's lock, so others may write
        to the thread meanwhile. Times do not change. After an interruption another call continues.

        Args:
            thread_id: the thread.

        Returns:
            The number of values that were encrypted.

        Raises:
            ConfigurationError: the checkpointer has no encryption.
            EncryptionError: a value cannot be decrypted.
        """
        count = 0
        after_seq: int | None = 0
        while after_seq is not None:
            written, after_seq = await self._write(
                reencryption.reencrypt_page, thread_id, after_seq=after_seq
            )
            count += written
        return count

    async def reencrypt_all(self, *, after: str | None = None) -> AsyncIterator[tuple[str, int]]:
        """Call `reencrypt` for each thread, in the order of the ids.

        Args:
            after: start after this thread id.

        Yields:
            A thread's id, and the number of its values that were encrypted.

        Raises:
            EncryptionError: a value of a thread cannot be decrypted; those before it are done.
        """
        while page := await self.list_threads(after=after):
            for thread in page:
                yield thread.thread_id, await self.reencrypt(thread.thread_id)
            after = page[-1].thread_id

    async def truncate(
        self,
        thread_id: str,
        *,
        after_seq: int,
        run_id: str | None = None,
        ignore_open_runs: bool = False,
    ) -> TruncationSummary | None:
        """Remove the newest messages of a thread, in one transaction.

        Their seqs are never allocated again, and `truncations` lists the removal. Runs and
        answers stay: a completed run whose messages are removed accepts no more messages. So do
        keys of appends: an append that is repeated with its key stores nothing.

        It needs the tables of thread control (`threadlog migrate --part control`). A writer that
        does not know of them allocates the seqs again: an agent framework's own backend, and a
        checkpointer that was opened before the tables were created.

        Args:
            thread_id: the thread.
            after_seq: the seq of the last message to keep; 0 removes all.
            run_id: the run that removes them, for the trace. It may be open.
            ignore_open_runs: remove the messages even if another run is open or a question waits
                for an answer.

        Returns:
            The trace of the removal; None if the thread has no such messages, or does not exist.

        Raises:
            ThreadInUseError: a run is open, or a question waits.
            CubepiSchemaUninitialized: the database has no tables of thread control.
        """
        return await self._write(
            truncations.truncate,
            thread_id,
            after_seq=after_seq,
            run_id=run_id,
            ignore_open_runs=ignore_open_runs,
        )

    async def truncations(self, thread_id: str) -> list[TruncationSummary]:
        """List the removals of a thread's messages by `truncate`, first removed first.

        Raises:
            CubepiSchemaUninitialized: the database has no tables of thread control.
        """
        return await self._read(truncations.truncations, thread_id)

    async def save_pending_request(
        self,
        thread_id: str,
        request: RequestT | None,
        *,
        run_id: str | None = None,
        owner: str | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Save the question that waits for a person's answer, or remove it.

        It replaces a pending question. The thread is created if it does not exist, but not to
        remove a question.

        Args:
            thread_id: the thread.
            request: the question; None removes what is pending, with its run id.
            run_id: the run that asks.
            owner: the owner of the thread. A question gives it to a thread without an owner.
            claim: a claim with a lease. Nothing is changed if the lease was taken over.

        Raises:
            ThreadOwnedError: the thread belongs to another owner.
            LeaseLostError: the claim's lease was taken over.
            InvalidInputError: `request` cannot be stored.
        """
        await self._write(
            pending_requests.save_pending_request,
            self.vocabulary,
            thread_id,
            request,
            run_id=run_id,
            owner=owner,
            claim=claim,
        )

    async def load_pending(self, thread_id: str) -> tuple[RequestT, str | None] | None:
        """Read a thread's pending question and the run that asked, in one statement.

        Returns:
            The question and the run's id, None if it was saved without; or None if nothing
            is pending.

        Raises:
            CheckpointCorruptionError: what is stored cannot be read.
        """
        return await self._read(pending_requests.load_pending, self.vocabulary, thread_id)

    async def load_pending_request(self, thread_id: str) -> RequestT | None:
        """Read a thread's pending question; None if nothing is pending."""
        pending = await self.load_pending(thread_id)
        return None if pending is None else pending[0]

    async def load_pending_run_id(self, thread_id: str) -> str | None:
        """Read the run that asked a thread's pending question; None if no run did."""
        return await self._read(pending_requests.load_pending_run_id, thread_id)

    async def clear_pending_request_if_matches(
        self, thread_id: str, *, question_id: str, run_id: str, claim: Claim | None = None
    ) -> bool:
        """Remove a thread's pending question if it is still this one, of this run.

        One statement: of simultaneous callers exactly one gets True. Ids are compared byte by
        byte.

        Args:
            thread_id: the thread.
            question_id: the question.
            run_id: the run that asked.
            claim: a claim with a lease. Nothing is changed if the lease was taken over.

        Returns:
            True if it was pending and is now removed.

        Raises:
            LeaseLostError: the claim's lease was taken over.
        """
        return await self._write(
            pending_requests.clear_pending_request_if_matches,
            thread_id,
            question_id=question_id,
            run_id=run_id,
            claim=claim,
        )

    async def save_hitl_answer(
        self,
        thread_id: str,
        question_id: str,
        answer: Any,
        *,
        run_id: str | None = None,
        owner: str | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Save a person's answer, so that a resumed run does not ask again.

        An answer to the same question of the same run is replaced.

        Args:
            thread_id: the thread.
            question_id: the question.
            answer: any JSON value; Pydantic models in it are stored as objects.
            run_id: the run that asked; None for none.
            owner: the owner of the thread, which a thread without an owner gets.
            claim: a claim with a lease. Nothing is changed if the lease was taken over.

        Raises:
            ThreadOwnedError: the thread belongs to another owner.
            LeaseLostError: the claim's lease was taken over.
            InvalidIdError: an id cannot be a key, or the three are too long together.
            InvalidInputError: `answer` is not JSON that every database can store.
        """
        await self._write(
            hitl_answers.save_hitl_answer,
            thread_id,
            question_id,
            answer,
            run_id=run_id,
            owner=owner,
            claim=claim,
        )

    async def load_hitl_answer(
        self,
        thread_id: str,
        question_id: str,
        *,
        run_id: str | None = None,
        default: Any = None,
    ) -> Any:
        """Read the answer to a question of a run.

        Args:
            thread_id: the thread.
            question_id: the question.
            run_id: the run; None for a question that no run asked.
            default: returned if there is no answer; an object of your own distinguishes that
                from an answer of None.

        Raises:
            CheckpointCorruptionError: what is stored is not JSON.
        """
        return await self._read(
            hitl_answers.load_hitl_answer,
            thread_id,
            question_id,
            run_id=run_id,
            default=default,
        )

    async def clear_hitl_answers(
        self,
        thread_id: str,
        question_ids: Iterable[str] | None = None,
        *,
        run_id: str | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Delete answers of one run, or of questions that no run asked.

        Args:
            thread_id: the thread.
            question_ids: whose answers to delete: an empty list deletes nothing, None all
                of the run.
            run_id: the run; None for questions that no run asked.
            claim: a claim with a lease. Nothing is changed if the lease was taken over.

        Raises:
            LeaseLostError: the claim's lease was taken over.
        """
        await self._write(
            hitl_answers.clear_hitl_answers, thread_id, question_ids, run_id=run_id, claim=claim
        )

    async def _write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self.client.write(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    async def _read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self.client.read(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    def _convert(self, error: ThreadlogError) -> None:
        """Add to an error the framework's exception class too, if there is a framework."""
        self.vocabulary.convert_error(error, self.client.backend.framework_name)


class BoundCheckpointer(MessageLog[MessageT, RequestT, DataT, SeqsT]):
    """The operations of a `Checkpointer` in a session of the application; see its ``bind()``."""

    client: ExternalClient

    def __init__(
        self, client: ExternalClient, vocabulary: FrameworkTypes[MessageT, RequestT, DataT]
    ) -> None:
        """Create the operations of a session's client; `Checkpointer.bind` does."""
        self.client = client
        self.vocabulary = vocabulary

    def __repr__(self) -> str:
        """Show the class, and the engine's URL without its password."""
        return f"<{type(self).__name__} {self.client}>"

    def scoped(self, owner: str) -> "ScopedCheckpointer[MessageT, RequestT, DataT, SeqsT]":
        """Return the same methods for the threads of one owner; see `Checkpointer.scoped`."""
        return ScopedCheckpointer(self, owner)


class ScopedCheckpointer(MessageLog[MessageT, RequestT, DataT, SeqsT]):
    """The operations of a checkpointer on the threads of one owner; see its ``scoped()``."""

    def __init__(
        self,
        log: "Checkpointer[MessageT, RequestT, DataT, SeqsT] | "
        "BoundCheckpointer[MessageT, RequestT, DataT, SeqsT]",
        owner: str,
    ) -> None:
        """Create the operations of a checkpointer; `Checkpointer.scoped` does."""
        check_id(owner, "owner")
        self._log, self._scope = log, owner
        self.client = ScopedClient(log.client, owner)
        self.vocabulary = log.vocabulary

    def __repr__(self) -> str:
        """Show the class, the engine's URL without its password, and the owner."""
        return f"<{type(self).__name__} {self.client}>"

    @property
    def batcher(self) -> Batcher[AppendRequest, range] | None:  # type: ignore[override]  # set on opening
        """Runs the appends of the checkpointer; see `MessageLog.batcher`."""
        return self._log.batcher


class Checkpointer(MessageLog[MessageT, RequestT, DataT, SeqsT]):
    """Stores conversations in a SQL database: in order, exactly once.

    An asynchronous context manager; its methods work inside the block only::

        async with Checkpointer("mysql://user:password@host/database") as checkpointer:
            await checkpointer.append("order-17", [message])
            data = await checkpointer.load("order-17")

    Any number of tasks may use one checkpointer, and any number of processes one database.
    A method's writes are in one transaction: when it returns they are durable, when it raises
    nothing was written (except for `CommitOutcomeUnknownError`). After a deadlock, a lock
    timeout or a lost connection the transaction is run again; after a connection was lost
    during COMMIT, threadlog first finds out whether the COMMIT succeeded.

    `prune_older_than`, `erase_owner`, `reencrypt` and `reencrypt_all`, and `erase_thread` with
    forks or memories, run several transactions. If one is interrupted, call it again: it
    continues.

    Cancelling a method lets the transaction that runs finish, for up to five seconds, and
    then raises. A transaction is stored completely or not at all.

    Every method may raise `StorageError`, and `NotOpenError` outside the block.
    """

    server: ClassVar[str | None] = None
    """The one kind of server that is accepted; None for each that a URL may lead to."""

    client: EngineClient | FactoryClient

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        session_factory: Callable[[], AsyncSession] | None = None,
        client: EngineClient | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """Create a checkpointer; nothing connects before the block.

        Args:
            url: ``mysql://user:password@host:3306/database``,
                ``mariadb://user:password@host:3306/database`` (either takes both servers),
                ``postgresql://user:password@host:5432/database`` (``host1:3306,host2:3306`` for
                several servers: the one that accepts writes is used), ``sqlite:///file.db`` or
                ``sqlite://`` for a database in memory. A driver in the URL that has no asyncio, as
                in ``mysql+pymysql://``, is replaced by asyncmy or asyncpg. Query arguments go to
                the driver; on MySQL those for TLS are ``ssl_mode``, ``ssl_ca``, ``ssl_cert`` and
                ``ssl_key``. Limits in seconds are ``connect_timeout``, ``read_timeout`` (for a
                statement), ``pool_timeout`` and ``retry_seconds``; ``pool_recycle`` and
                ``pool_pre_ping`` are SQLAlchemy's.
            engine: an engine of the application's, in place of a URL.
            session_factory: an ``async_sessionmaker`` of the application's, in place of a URL.
            client: a client that its owner opens and closes, in place of a URL; see
                `threadlog.Database`.
            min_pool_size: connections to a URL that are opened on entering; on MySQL 1 opens
                two, as some are kept for reading.
            max_pool_size: the most connections to a URL at once; further operations wait,
                for up to ``pool_timeout``. SQLite, which has one writer at a time, is always
                given one connection.
            retry_seconds: how long a transaction is run again after a deadlock, or while the server
                is away, also on entering; 0 for one attempt. None for ``retry_seconds`` in the
                URL, or 30.
            encryption: encrypts messages, extra, questions and answers with the application's keys.

        Raises:
            ConfigurationError: none or several of the first four are given, or one cannot
                be used.
        """
        size = PoolSize(min_pool_size, max_pool_size)
        source = (url, engine, session_factory, client)
        self.client = client_of(MESSAGES, *source, size, retry_seconds)
        self._client_is_external = client is not None
        self._encryption = encryption

    def __repr__(self) -> str:
        """Show the class, the URL without its password, and the state."""
        return f"<{type(self).__name__} {self.client} {'open' if self.is_open else 'closed'}>"

    async def __aenter__(self) -> Self:
        """Connect, and verify server and schema.

        Raises:
            MissingExtraError: the database's driver is not installed.
            UnsupportedServerError: the server is of the wrong kind or too old.
            ConfigurationError: the application's engine has settings that would lose data:
                AUTOCOMMIT, another character set than utf8mb4, or NO_BACKSLASH_ESCAPES with a
                driver that ignores it. Or there is an encryption, and the database has the search
                index, which is in plain text.
            CubepiSchemaUninitialized: the tables, or the row with their version, are
                missing. (They are created in an SQLite database of a URL.)
            CubepiSchemaMismatch: the tables are of another version.
        """
        try:
            if self._client_is_external:
                found = await self.client.read(verify_log)
                facts = replace(self.client.facts, **found)
                self.client.facts = with_encryption(facts, self._encryption)
            else:
                await open_client(self.client, only=self.server, encryption=self._encryption)
        except ThreadlogError as error:
            self._convert(error)
            raise
        if isinstance(self.client, EngineClient) and self.client.writing is not None:
            self.batcher = Batcher(self.client, self.client.writing, append_together)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Wait for running calls, for up to five seconds, and close own connections."""
        if self.batcher is not None:
            self.batcher.close()
            self.batcher = None
        if not self._client_is_external:
            await self.client.close()

    async def ping(self) -> None:
        """Check that the database answers: one statement that reads, for a health endpoint.

        A connection that was closed meanwhile is replaced. Attempts end after two seconds, or
        `retry_seconds` if that is less; each may take the URL's ``connect_timeout`` or
        ``read_timeout``, and a call waits for a connection like any other. Limit the whole with
        ``asyncio.timeout``.

        Raises:
            StorageError: the database does not answer.
            NotOpenError: the checkpointer is not open.
        """
        await self._read(ping)

    async def prune_older_than(
        self,
        age: timedelta,
        *,
        owner: str | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
        ignore_forks: bool = False,
        ignore_open_runs: bool = False,
        ignore_questions: bool = False,
    ) -> PruneSummary:
        """Delete threads that were last written to so long ago, or their oldest messages.

        By the database's clock, to the second, and by ``updated_at`` of the thread; the clock is
        read once. Each thread is a transaction, which locks it and checks everything again: a
        thread that is written to meanwhile is left alone, and one that is locked is not waited
        for. A thread that is kept keeps its ``updated_at`` and its seqs. Graph state, memories and
        the rows of an agent server have an age of their own, and are not changed.

        Of a thread of more than 2,000 messages, or 32 MiB, the oldest are deleted first, in
        several transactions that each end before a user message. A writer between two of them
        finds the thread without its oldest messages. The rest of the thread then stays, as it is
        not old any more.

        If it is interrupted, call it again: what was deleted is deleted.

        Args:
            age: how long ago.
            owner: prune only the threads of this owner.
            keep_last: keep the threads, and of each this many of the newest messages, and the
                messages before them back to the nearest user message, as with
                ``load(last=, whole_turns=True)``. Runs and answers stay.
            dry_run: delete nothing, and count what would be deleted.
            ignore_forks: prune also threads that have forks. A fork keeps its own messages; if the
                thread is deleted it loses its link to it.
            ignore_open_runs: prune also threads with a run that is claimed and not completed.
            ignore_questions: prune also threads with a question that waits for an answer.

        Returns:
            The counts of what was deleted, and of the threads that were left out.

        Raises:
            InvalidInputError: `age` or `keep_last` is not valid.
            InvalidIdError: `owner` cannot be a key.
            CubepiSchemaUninitialized: with `owner`, the database has no tables of thread control.
        """
        pruning = Pruning(
            age,
            owner=owner,
            keep_last=keep_last,
            dry_run=dry_run,
            ignore_forks=ignore_forks,
            ignore_open_runs=ignore_open_runs,
            ignore_questions=ignore_questions,
        )
        run = self._read if dry_run else self._write
        while await run(pruning.step):
            pass
        return pruning.summary

    async def erase_owner(
        self,
        owner: str,
        *,
        memories: Sequence[NamespacePrefix] = (),
        forks: Forks = "refuse",
        dry_run: bool = False,
    ) -> Erased:
        """Erase all threads of an owner as `erase_thread` does, each in one transaction.

        Forks come before the threads that they were forked from; forks of the same owner are
        always erased. A thread that cannot be erased does not end the erasure of the others.

        The owner's threads are listed again until there are none, as a writer may create more. An
        append that names the owner and comes after the last list stays; an append that waited
        for a thread, and names no owner, creates it without one, which is an error here. Stop the
        owner's writers first.

        If the call fails or is cancelled, call it again: what is erased stays erased. State of
        graphs and rows of servers are found by the ids of the owner's threads.

        Needs the tables of thread control (``threadlog migrate --part control``).

        Args:
            owner: the owner.
            memories: namespaces of the memory store that belong to the owner, as
                ``[("users", "42")]``; they are erased last, each in a transaction.
            forks: treatment of the forks of other owners, and of none, as by `erase_thread`.
            dry_run: erase nothing; count the rows.

        Returns:
            The ids of the erased threads, and the number of rows of each table.

        Raises:
            ErasureIncompleteError: threads could not be erased, because of forks or of foreign
                keys of the application's. ``left`` has the reason for each, ``erased`` the
                counts of the others.
            CubepiSchemaUninitialized: the database has no tables of thread control.
            CubepiSchemaMismatch: a part of the schema has another version.
            InvalidInputError: `memories` has something that is not a namespace.
        """
        erasure = OwnerErasure(owner, memories=memories, forks=forks, dry_run=dry_run)
        while not erasure.done:
            await self._write(erasure.step)
        return erasure.erased

    def bind(
        self, session: AsyncSession | async_scoped_session[AsyncSession]
    ) -> "BoundCheckpointer[MessageT, RequestT, DataT, SeqsT]":
        """Return the same methods for use in a session of the application.

        Statements run in the session's transaction. It never commits, rolls back or closes, and
        runs nothing a second time: that is up to the application. Row locks last until the
        transaction ends. Objects that are pending in the session stay pending. After an error
        of the database roll back, and run the whole transaction again if the error is
        ``retryable``::

            async with session_factory.begin() as session:
                session.add(order)
                await checkpointer.bind(session).append(order.thread_id, messages)

        Args:
            session: a session of the database that this checkpointer was opened on, not in
                AUTOCOMMIT; of the database only the kind is checked. An ``async_scoped_session``
                stands for the session that is current when ``bind`` is called. One call at a
                time may use a session: another raises `SessionInUseError`.

        Raises:
            NotOpenError: this checkpointer is not open.
            ConfigurationError: it is not an AsyncSession, or is of another kind of database.
        """
        if isinstance(session, async_scoped_session):
            session = session()
        if not isinstance(session, AsyncSession):
            raise ConfigurationError(
                f"bind() takes an AsyncSession, not a {type(session).__name__}. "
                "threadlog.SyncCheckpointer binds plain sessions."
            )
        client = ExternalClient(session.sync_session, self.client, MESSAGES)
        return BoundCheckpointer(client, self.vocabulary)

    def scoped(self, owner: str) -> "ScopedCheckpointer[MessageT, RequestT, DataT, SeqsT]":
        """Return the same methods for the threads of one owner.

        Threads of other owners, and threads without an owner, are as absent as unknown ones:
        `load` returns None, `delete_thread` False, `mark_run_complete` raises
        `RunNotClaimedError`. A method that would create the thread raises `ThreadOwnedError`, as
        the id is taken. A thread that it creates belongs to the owner. The owner is checked in
        the transaction that reads or writes. ``bind(session).scoped(owner)`` does the same in
        a session of the application.

        Needs the tables of thread control (``threadlog migrate --part control``).

        Args:
            owner: the owner.

        Raises:
            InvalidIdError: `owner` cannot be a key.
        """
        return ScopedCheckpointer(self, owner)


class _OfOneKind(Checkpointer[MessageT, RequestT, DataT, SeqsT]):
    """A `Checkpointer` that takes one kind of server."""

    also: ClassVar[tuple[str, ...]] = ()
    """Databases whose URLs may lead to such a server too."""

    def __init__(
        self,
        dsn: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        session_factory: Callable[[], AsyncSession] | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """Create a checkpointer; see `Checkpointer`.

        Raises:
            ConfigurationError: the URL or engine is of another kind of database.
        """
        super().__init__(
            dsn,
            engine=engine,
            session_factory=session_factory,
            min_pool_size=min_pool_size,
            max_pool_size=max_pool_size,
            retry_seconds=retry_seconds,
            encryption=encryption,
        )
        if self.client.backend.name not in {self.server, *self.also}:
            raise ConfigurationError(
                f"{type(self).__name__} takes {str(self.server).lower()}:// URLs, not "
                f"{self.client}. Use Checkpointer, which takes all."
            )


class MySQLCheckpointer(_OfOneKind[MessageT, RequestT, DataT, SeqsT]):
    """A `Checkpointer` that takes only MySQL: ``mysql://`` URLs whose server is not MariaDB.

    Entering checks the server, and raises `UnsupportedServerError` on MariaDB.
    """

    server = "MySQL"


class MariaDBCheckpointer(_OfOneKind[MessageT, RequestT, DataT, SeqsT]):
    """A `Checkpointer` that takes only MariaDB: by a ``mariadb://`` URL, or a ``mysql://`` one.

    Entering checks the server, and raises `UnsupportedServerError` on MySQL.
    """

    server = "MariaDB"
    also = ("MySQL",)


class PostgresCheckpointer(_OfOneKind[MessageT, RequestT, DataT, SeqsT]):
    """A `Checkpointer` that takes only PostgreSQL."""

    server = "PostgreSQL"
