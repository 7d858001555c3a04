"""The synchronous checkpointer of the message log, for applications without asyncio."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from sqlalchemy import URL, Engine
from sqlalchemy.orm import Session, scoped_session

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
    threads,
    truncations,
)
from threadlog.log import runs as run_operations
from threadlog.log.append import append_messages, encode_append
from threadlog.log.conditions import NO_CONDITIONS, AppendConditions
from threadlog.log.framework_types import VOCABULARY, DataT, FrameworkTypes, RequestT
from threadlog.log.message_codec import MessageT
from threadlog.log.results import Claim, PruneSummary, StoredMessage
from threadlog.log.retention import Pruning
from threadlog.log.sync_append_batcher import SyncAppendBatcher
from threadlog.models import MESSAGES
from threadlog.runtime.methods import as_method
from threadlog.runtime.sync_client import (
    SyncClient,
    SyncEngineClient,
    SyncExternalClient,
    SyncFactoryClient,
    client_of,
)
from threadlog.runtime.transactions import Operation, TransactionRunner, ping
from threadlog.schema.opening import open_sync_client, verify_log, with_encryption
from threadlog.scoped_client import ScopedSyncClient

if TYPE_CHECKING:
    from threadlog.exporting import ExportFormat


P = ParamSpec("P")
T = TypeVar("T")

Method: TypeAlias = Callable[Concatenate["SyncMessageLog[Any, Any, Any]", P], T]


def _method(operation: Operation[P, T], *, writes: bool = False) -> Method[P, T]:
    """Return the method of a log that runs an operation; see `Checkpointer` for its contract."""

    @as_method(operation)
    def method(self: "SyncMessageLog[Any, Any, Any]", /, *args: P.args, **kwargs: P.kwargs) -> T:
        run = self._write if writes else self._read
        return run(operation, *args, **kwargs)

    return method


def _method_with_types(
    operation: Callable[
        Concatenate[TransactionRunner, FrameworkTypes[MessageT, RequestT, DataT], P], T
    ],
    *,
    writes: bool = False,
) -> Callable[Concatenate["SyncMessageLog[MessageT, RequestT, DataT]", P], T]:
    """Return the method of a log that runs an operation with the log's classes."""

    @as_method(operation)
    def method(
        self: "SyncMessageLog[MessageT, RequestT, DataT]", /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        run = self._write if writes else self._read
        return run(operation, self.vocabulary, *args, **kwargs)

    return method


class SyncMessageLog(Generic[MessageT, RequestT, DataT]):
    """The operations on a message log without asyncio; open a `SyncCheckpointer` to get one."""

    vocabulary: FrameworkTypes[MessageT, RequestT, DataT] = cast("Any", VOCABULARY)
    """The classes of messages, questions and threads; a subclass may set those of a framework."""

    client: SyncClient | ScopedSyncClient
    """Runs the operations on the database."""

    batcher: SyncAppendBatcher | None = None
    """Runs the appends; None while closed, and on sessions of an application."""
    _scope: str | None = None

    @property
    def is_open(self) -> bool:
        """True if the checkpointer is open."""
        return self.client.is_open

    def append(
        self,
        thread_id: str,
        messages: Sequence[MessageT],
        *,
        owner: str | None = None,
        if_last_seq: int | None = None,
        key: str | None = None,
        claim: Claim | None = None,
    ) -> list[int]:
        """See `Checkpointer.append`."""
        given = (owner, if_last_seq, key, claim, self._scope)
        conditions = None if given == NO_CONDITIONS else AppendConditions(*given)
        batcher = self.batcher
        if batcher is None:
            if isinstance(messages, list | tuple) and not messages:
                return []
            return self._write(append_messages, self.vocabulary, thread_id, messages, conditions)
        try:
            limit = self.client.facts.statement_limit
            request = encode_append(self.vocabulary, thread_id, messages, limit, conditions)
            return [] if request is None else list(batcher.submit(request))
        except ThreadlogError as error:
            self._convert(error)
            raise

    def stream(
        self, thread_id: str, *, after_seq: int = 0, batch_size: int = 500
    ) -> Iterator[StoredMessage[MessageT]]:
        """See `Checkpointer.stream`."""
        check_count(batch_size, "batch_size", least=1)
        while batch := self.read(thread_id, after_seq=after_seq, limit=batch_size):
            yield from batch
            after_seq = batch[-1].seq

    def export(
        self,
        *,
        threads: Sequence[str] | None = None,
        owner: str | None = None,
        memories: Sequence[Sequence[str]] | None = None,
        format: "ExportFormat" = "jsonl",  # noqa: A002 - the name of the command line's option
    ) -> Iterator[bytes]:
        """See `Checkpointer.export`."""
        from threadlog.exporting import Export  # noqa: PLC0415 - few programs export, all import this

        with Export(threads, owner, memories, format) as running:
            while self._read(running.step):
                yield from running.lines()

    def reencrypt(self, thread_id: str) -> int:
        """See `Checkpointer.reencrypt`."""
        count = 0
        after_seq: int | None = 0
        while after_seq is not None:
            written, after_seq = self._write(
                reencryption.reencrypt_page, thread_id, after_seq=after_seq
            )
            count += written
        return count

    def reencrypt_all(self, *, after: str | None = None) -> Iterator[tuple[str, int]]:
        """See `Checkpointer.reencrypt_all`."""
        while page := self.list_threads(after=after):
            for thread in page:
                yield thread.thread_id, self.reencrypt(thread.thread_id)
            after = page[-1].thread_id

    def load_pending_request(self, thread_id: str) -> RequestT | None:
        """See `Checkpointer.load_pending_request`."""
        pending = self.load_pending(thread_id)
        return None if pending is None else pending[0]

    @overload
    def claim_run(self, thread_id: str, run_id: str, *, owner: str | None = None) -> None: ...

    @overload
    def claim_run(
        self, thread_id: str, run_id: str, *, owner: str | None = None, lease: timedelta
    ) -> Claim: ...

    def claim_run(
        self,
        thread_id: str,
        run_id: str,
        *,
        owner: str | None = None,
        lease: timedelta | None = None,
    ) -> Claim | None:
        """See `Checkpointer.claim_run`."""
        return self._write(run_operations.claim_run, thread_id, run_id, owner=owner, lease=lease)

    load = _method_with_types(reading.load)
    read = _method_with_types(reading.read)
    snapshot = _method_with_types(forks.snapshot)
    load_pending = _method_with_types(pending_requests.load_pending)
    save_pending_request = _method_with_types(pending_requests.save_pending_request, writes=True)
    save_extra = _method(threads.save_extra, writes=True)
    list_threads = _method(threads.list_threads)
    delete_thread = _method(threads.delete_thread, writes=True)
    erase_thread = _method(erase.erase_thread, writes=True)
    renew = _method(leases.renew, writes=True)
    release = _method(leases.release, writes=True)
    mark_run_complete = _method(run_operations.mark_run_complete, writes=True)
    release_run = _method(run_operations.release_run, writes=True)
    stale_runs = _method(run_operations.stale_runs)
    fork = _method(forks.fork, writes=True)
    load_pending_run_id = _method(pending_requests.load_pending_run_id)
    clear_pending_request_if_matches = _method(
        pending_requests.clear_pending_request_if_matches, writes=True
    )
    save_hitl_answer = _method(hitl_answers.save_hitl_answer, writes=True)
    load_hitl_answer = _method(hitl_answers.load_hitl_answer)
    clear_hitl_answers = _method(hitl_answers.clear_hitl_answers, writes=True)
    runs = _method(run_operations.runs)
    truncate = _method(truncations.truncate, writes=True)
    # The last: in the class the name is no longer the module's.
    truncations = _method(truncations.truncations)

    def _write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.client.write(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    def _read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return self.client.read(operation, *args, **kwargs)
        except ThreadlogError as error:
            self._convert(error)
            raise

    def _convert(self, error: ThreadlogError) -> None:
        """Add to an error the framework's exception class too, if there is a framework."""
        self.vocabulary.convert_error(error, self.client.backend.framework_name)


class SyncBoundCheckpointer(SyncMessageLog[MessageT, RequestT, DataT]):
    """The operations of a `SyncCheckpointer` in a session of the application."""

    client: SyncExternalClient

    def __init__(
        self, client: SyncExternalClient, vocabulary: FrameworkTypes[MessageT, RequestT, DataT]
    ) -> None:
        """Create the operations of a session's client; `SyncCheckpointer.bind` does."""
        self.client = client
        self.vocabulary = vocabulary

    def __repr__(self) -> str:
        """Show the class, and the engine's URL without its password."""
        return f"<{type(self).__name__} {self.client}>"

    def scoped(self, owner: str) -> "SyncScopedCheckpointer[MessageT, RequestT, DataT]":
        """Return the same methods for the threads of one owner; see `Checkpointer.scoped`."""
        return SyncScopedCheckpointer(self, owner)


class SyncScopedCheckpointer(SyncMessageLog[MessageT, RequestT, DataT]):
    """The operations of a `SyncCheckpointer` on the threads of one owner; see its ``scoped()``."""

    def __init__(
        self,
        log: "SyncCheckpointer[MessageT, RequestT, DataT] | "
        "SyncBoundCheckpointer[MessageT, RequestT, DataT]",
        owner: str,
    ) -> None:
        """Create the operations of a checkpointer; `SyncCheckpointer.scoped` does."""
        check_id(owner, "owner")
        self._log, self._scope = log, owner
        self.client = ScopedSyncClient(log.client, owner)
        self.vocabulary = log.vocabulary

    def __repr__(self) -> str:
        """Show the class, the engine's URL without its password, and the owner."""
        return f"<{type(self).__name__} {self.client}>"

    @property
    def batcher(self) -> SyncAppendBatcher | None:  # type: ignore[override]  # set on opening
        """Runs the appends of the checkpointer; see `SyncMessageLog.batcher`."""
        return self._log.batcher


class SyncCheckpointer(SyncMessageLog[MessageT, RequestT, DataT]):
    """A `Checkpointer` without asyncio: a context manager with the same methods.

    ::

        with SyncCheckpointer("mysql://user:password@host/database") as checkpointer:
            checkpointer.append("order-17", [message])
            data = checkpointer.load("order-17")

    Any number of threads may use one. `Checkpointer` documents what each method does,
    returns, raises and guarantees; both run the same operations.
    """

    client: SyncEngineClient | SyncFactoryClient

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        engine: Engine | None = None,
        session_factory: Callable[[], Session] | None = None,
        client: SyncEngineClient | None = None,
        min_pool_size: int = 1,
        max_pool_size: int = 10,
        retry_seconds: float | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        """Create a checkpointer; nothing connects before the block.

        Args:
            url: as for `Checkpointer`, but through PyMySQL and psycopg, whatever driver it names.
            engine: an engine of the application's, in place of a URL.
            session_factory: a ``sessionmaker`` of the application's, in place of a URL.
            client: a client that its owner opens and closes, in place of a URL; see
                `threadlog.SyncDatabase`.
            min_pool_size: as for `Checkpointer`.
            max_pool_size: as for `Checkpointer`.
            retry_seconds: as for `Checkpointer`.
            encryption: as for `Checkpointer`.

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

    def __enter__(self) -> Self:
        """Connect, and verify server and schema; see `Checkpointer.__aenter__`."""
        try:
            if self._client_is_external:
                found = self.client.read(verify_log)
                facts = replace(self.client.facts, **found)
                self.client.facts = with_encryption(facts, self._encryption)
            else:
                open_sync_client(self.client, encryption=self._encryption)
        except ThreadlogError as error:
            self._convert(error)
            raise
        if isinstance(self.client, SyncEngineClient):
            self.batcher = SyncAppendBatcher(self.client)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close own connections; those in use when their call returns."""
        if self.batcher is not None:
            self.batcher.close()
            self.batcher = None
        if not self._client_is_external:
            self.client.close()

    def ping(self) -> None:
        """See `Checkpointer.ping`."""
        self._read(ping)

    def prune_older_than(
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
        """See `Checkpointer.prune_older_than`."""
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
        while run(pruning.step):
            pass
        return pruning.summary

    def erase_owner(
        self,
        owner: str,
        *,
        memories: Sequence[NamespacePrefix] = (),
        forks: Forks = "refuse",
        dry_run: bool = False,
    ) -> Erased:
        """See `Checkpointer.erase_owner`."""
        erasure = OwnerErasure(owner, memories=memories, forks=forks, dry_run=dry_run)
        while not erasure.done:
            self._write(erasure.step)
        return erasure.erased

    def bind(
        self, session: Session | scoped_session[Session]
    ) -> "SyncBoundCheckpointer[MessageT, RequestT, DataT]":
        """Return the same methods for use in a session; see `Checkpointer.bind`."""
        if isinstance(session, scoped_session):
            session = session()
        if not isinstance(session, Session):
            raise ConfigurationError(
                f"bind() takes a Session, not a {type(session).__name__}. threadlog.Checkpointer "
                "binds an AsyncSession."
            )
        client = SyncExternalClient(session, self.client, MESSAGES)
        return SyncBoundCheckpointer(client, self.vocabulary)

    def scoped(self, owner: str) -> "SyncScopedCheckpointer[MessageT, RequestT, DataT]":
        """Return the same methods for the threads of one owner; see `Checkpointer.scoped`."""
        return SyncScopedCheckpointer(self, owner)
