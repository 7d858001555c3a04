"""The metadata store in MongoDB."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self, get_args
from uuid import UUID, uuid4

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from threadlog.encoding.validation import check_count, check_one_of, check_uuid
from threadlog.errors import (
    CheckpointCorruptionError,
    RunAlreadyExistsError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.persistence.arguments import (
    check_new_run,
    check_new_thread,
    check_search,
    check_stale,
    check_status_change,
    check_thread_changes,
)
from threadlog.persistence.expiry import parse_ttl
from threadlog.persistence.mongodb_client import Document, MongoClient, translated_errors
from threadlog.persistence.mongodb_documents import (
    IN_FLIGHT,
    RUNS,
    THREADS,
    before,
    changes,
    check_document_size,
    json_member_is,
    run_document,
    run_row,
    sort_by,
    thread_document,
    thread_row,
    ttl_object,
    uuid_of,
)
from threadlog.persistence.threads import ttl_from
from threadlog.persistence.types import (
    ExpiredThread,
    IfExists,
    MultitaskStrategy,
    RunRow,
    RunStatus,
    Search,
    ThreadRow,
    ThreadStatus,
    TimeToLive,
)
from threadlog.persistence.validation import (
    check_page,
    check_run_status,
    check_uuids,
    expires_at,
    time_text,
)

_LOG: Final = logging.getLogger(__name__)

_DATABASE: Final = "skeino"
_ATTEMPTS: Final = 10
_ONE_MICROSECOND: Final = timedelta(microseconds=1)

# Each transaction that depends on a thread's existence or its runs writes this field of the
# thread, so that of two such transactions one fails with a conflict and is run again.
_LOCK: Final = {"$inc": {"lock_version": 1}}


class MongoMetadataStore:
    """Stores the rows of threads and runs in collections of MongoDB.

    `MetadataStoreProtocol` documents the methods; each may raise `StorageError`. The collections
    ``app_threads`` and ``app_runs`` are in the database that the URI names, otherwise in
    ``skeino``; skeino's own MongoMetadataStore can read and write them too. The server must be a
    replica set or a sharded cluster, because it needs transactions::

        async with MongoMetadataStore("mongodb://host/database") as store:
            await store.setup()  # creates the indexes

    Any number of tasks of one event loop may use a store, and any number of processes a database.
    Times are the server's, which has milliseconds; this store adds microseconds so that what it
    creates in one millisecond keeps its order.
    """

    def __init__(self, uri: str) -> None:
        """Create a store; nothing connects yet.

        Raises:
            ConfigurationError: the URI is not of MongoDB.
        """
        self._client = MongoClient(uri, database=_DATABASE)
        self._opening = asyncio.Lock()
        self._latest: datetime | None = None

    def __repr__(self) -> str:
        """Show the class and the address, without a password."""
        return f"<{type(self).__name__} {self._client!r}>"

    async def __aenter__(self) -> Self:
        """Connect, and check the server.

        Raises:
            UnsupportedServerError: the server is too old or has no transactions.
            ConfigurationError: the URI is not valid; or the store is open already.
        """
        await self._client.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self.aclose()

    async def setup(self) -> None:
        """Open the store if it is not open, and create the indexes.

        Any number of processes may call this at once.
        """
        async with self._opening:
            if not self._client.is_open:
                await self.__aenter__()
        threads, runs = self._threads, self._runs
        with translated_errors(writes=True):
            await threads.create_index([("status", 1), ("updated_at", -1)])
            await threads.create_index(sort_by("updated_at", descending=True))
            await threads.create_index("ttl.expires_at", sparse=True)
            await runs.create_index([("thread_id", 1), ("created_at", -1)])
            await runs.create_index([("status", 1), ("updated_at", 1)])

    async def aclose(self) -> None:
        """Close the connections, if open."""
        await self._client.close()

    # --- Threads -----------------------------------------------------------------------

    async def fetch_thread_row(self, thread_id: str) -> ThreadRow | None:
        """See `MetadataStoreProtocol.fetch_thread_row`."""
        key = str(check_uuid(thread_id, "thread_id"))
        with translated_errors(writes=False):
            found = await self._threads.find_one({"_id": key})
        return None if found is None else thread_row(found)

    async def create_thread(
        self,
        thread_id: str,
        *,
        metadata: dict[str, Any],
        config: dict[str, Any],
        ttl: TimeToLive | None,
        if_exists: IfExists,
    ) -> ThreadRow:
        """See `MetadataStoreProtocol.create_thread`."""
        new = check_new_thread(thread_id, metadata, config, ttl, if_exists)
        check_document_size("metadata with config", new.metadata, new.config)
        # Tells the driver's repetition of a lost insert from another caller's thread.
        creation = uuid4().hex
        # A thread that exists at the insert and not at the read was deleted in between.
        for _ in range(_ATTEMPTS):
            now = await self._now()
            row = ThreadRow(
                thread_id=new.thread_id,
                created_at=now,
                updated_at=now,
                state_updated_at=None,
                metadata=new.metadata,
                config=new.config,
                status="idle",
                ttl=ttl_from(ttl, now),
            )
            document = {**thread_document(row), "creation": creation}
            with translated_errors(writes=True):
                try:
                    await self._threads.insert_one(document)
                except DuplicateKeyError as error:
                    existing = await self._threads.find_one({"_id": document["_id"]})
                    is_ours = existing is not None and existing.get("creation") == creation
                    if if_exists == "raise" and not is_ours:
                        raise ThreadAlreadyExistsError(thread_id=thread_id) from error
                else:
                    return row
            if existing is not None:
                return thread_row(existing)
        raise ThreadNotFoundError(thread_id=thread_id)

    async def update_thread(
        self,
        thread_id: str,
        *,
        status_value: ThreadStatus | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        mark_state_updated: bool = False,
    ) -> None:
        """See `MetadataStoreProtocol.update_thread`."""
        key = str(check_uuid(thread_id, "thread_id"))
        values = check_thread_changes(status_value, config, metadata)
        check_document_size("metadata with config", metadata or {}, config or {})
        if values or mark_state_updated:
            values |= await self._times(state=mark_state_updated)
            with translated_errors(writes=True):
                await self._threads.update_one({"_id": key}, {"$set": changes(values)})

    async def search_thread_rows(self, request: Search) -> list[ThreadRow]:
        """See `MetadataStoreProtocol.search_thread_rows`."""
        wanted = check_search(request)
        check_document_size("metadata", dict(wanted.metadata))
        query: Document = {}
        if wanted.ids:
            query["_id"] = {"$in": [str(key) for key in wanted.ids]}
        if wanted.status is not None:
            query["status"] = wanted.status
        if wanted.metadata:
            members = (json_member_is(key, value) for key, value in wanted.metadata.items())
            query["$expr"] = {"$and": [condition for each in members for condition in each]}
        order = sort_by(wanted.sort_by, descending=wanted.descending)
        with translated_errors(writes=False):
            page = self._threads.find(query).sort(order).skip(wanted.offset).limit(wanted.limit)
            found = await page.allow_disk_use(allow_disk_use=True).to_list()
        return [thread_row(document) for document in found]

    async def delete_thread(self, thread_id: str) -> None:
        """See `MetadataStoreProtocol.delete_thread`."""
        key = str(check_uuid(thread_id, "thread_id"))
        await self._client.transact(lambda session: self._delete_with_runs(session, key))

    async def release_busy_thread(
        self,
        thread_id: str,
        status_value: ThreadStatus = "error",
        *,
        mark_state_updated: bool = False,
    ) -> bool:
        """See `MetadataStoreProtocol.release_busy_thread`."""

        async def release(session: AsyncClientSession) -> bool:
            busy = {"_id": key, "status": "busy"}
            updated = await self._threads.update_one(
                busy, {"$set": values, **_LOCK}, session=session
            )
            if updated.matched_count and await self._any_in_flight(session, key):
                raise _Unchanged
            return updated.matched_count > 0

        key = str(check_uuid(thread_id, "thread_id"))
        check_one_of(status_value, "status_value", get_args(ThreadStatus))
        times = await self._times(state=mark_state_updated)
        values = changes({"status": status_value, **times})
        try:
            return await self._client.transact(release)
        except _Unchanged:
            return False

    async def expire_threads(self, *, limit: int = 100) -> list[ExpiredThread]:
        """See `MetadataStoreProtocol.expire_threads`.

        Graph state is not deleted: the checkpointer does that, see `open_persistence`.

        Raises:
            CheckpointCorruptionError: a thread's time to live cannot be decoded; the other
                threads were expired.
        """
        check_count(limit, "limit", least=1)
        now = await self._now()
        in_flight = [{"$match": {"status": IN_FLIGHT}}, {"$limit": 1}, {"$project": {"_id": 1}}]
        runs = {"from": RUNS, "localField": "_id", "foreignField": "thread_id", "as": "runs"}
        with translated_errors(writes=False):
            cursor = await self._threads.aggregate(
                [
                    {"$match": {"ttl.expires_at": {"$lte": time_text(now)}}},
                    {"$sort": {"ttl.expires_at": 1, "_id": 1}},
                    {"$project": {"_id": 1}},
                    {"$lookup": {**runs, "pipeline": in_flight}},
                    {"$match": {"runs": []}},
                    {"$limit": limit},
                ]
            )
            found = await cursor.to_list()
        done: list[ExpiredThread] = []
        corrupt: CheckpointCorruptionError | None = None
        for document in found:
            try:
                expired = await self._expire(uuid_of(document))
            except CheckpointCorruptionError as error:
                corrupt = corrupt or error
                continue
            if expired is not None:
                done.append(expired)
        if corrupt is not None:
            raise corrupt
        return done

    async def _expire(self, thread_id: UUID) -> ExpiredThread | None:
        """Apply the strategy of a thread, if its time to live is over and no run is in flight."""

        async def expire(session: AsyncClientSession) -> ExpiredThread | None:
            over = {"_id": key, "ttl.expires_at": {"$lte": time_text(now)}}
            document = await self._threads.find_one_and_update(over, _LOCK, session=session)
            if document is None or await self._any_in_flight(session, key):
                return None
            ttl = parse_ttl(key, ttl_object(document))
            if ttl.end > now:
                return None
            if ttl.strategy == "delete":
                await self._delete_with_runs(session, key)
            else:
                renewed = {"ttl.expires_at": expires_at(now, ttl.minutes)}
                await self._threads.update_one({"_id": key}, {"$set": renewed}, session=session)
            return ExpiredThread(thread_id, ttl.strategy)

        key, now = str(thread_id), await self._now()
        return await self._client.transact(expire)

    # --- Runs --------------------------------------------------------------------------

    async def create_run(
        self,
        run_id: str,
        thread_id: str,
        assistant_id: str,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
        multitask_strategy: MultitaskStrategy,
    ) -> RunRow:
        """See `MetadataStoreProtocol.create_run`."""

        async def create(session: AsyncClientSession) -> None:
            thread = {"_id": str(new.thread_id)}
            if not (await self._threads.update_one(thread, _LOCK, session=session)).matched_count:
                raise ThreadNotFoundError(thread_id=thread_id)
            try:
                await self._runs.insert_one(run_document(row), session=session)
            except DuplicateKeyError as error:
                raise RunAlreadyExistsError(thread_id=thread_id, run_id=run_id) from error

        new = check_new_run(run_id, thread_id, assistant_id, metadata, kwargs, multitask_strategy)
        check_document_size("metadata with kwargs", new.metadata, new.kwargs)
        now = await self._now()
        row = RunRow(
            run_id=new.run_id,
            thread_id=new.thread_id,
            assistant_id=assistant_id,
            created_at=now,
            updated_at=now,
            status="pending",
            metadata=new.metadata,
            kwargs=new.kwargs,
            multitask_strategy=multitask_strategy,
            error=None,
        )
        await self._client.transact(create)
        return row

    async def update_run_status(
        self, run_id: str, status_value: RunStatus, *, error: str | None = None
    ) -> bool:
        """See `MetadataStoreProtocol.update_run_status`."""
        key, error = check_status_change(run_id, status_value, error)
        check_document_size("error", {"error": error})
        values = {"status": status_value, "error": error, **await self._times()}
        in_flight = {"_id": str(key), "status": IN_FLIGHT}
        with translated_errors(writes=True):
            updated = await self._runs.update_one(in_flight, {"$set": changes(values)})
        return updated.matched_count > 0

    async def fetch_run_row(self, thread_id: str, run_id: str) -> RunRow | None:
        """See `MetadataStoreProtocol.fetch_run_row`."""
        thread_key, key = check_uuid(thread_id, "thread_id"), check_uuid(run_id, "run_id")
        with translated_errors(writes=False):
            found = await self._runs.find_one({"_id": str(key), "thread_id": str(thread_key)})
        return None if found is None else run_row(found)

    async def list_run_rows(
        self, thread_id: str, *, limit: int, offset: int, status_value: RunStatus | None
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.list_run_rows`."""
        query = {"thread_id": str(check_uuid(thread_id, "thread_id"))}
        check_page(limit, offset)
        if status_value is not None:
            check_run_status(status_value)
            query["status"] = status_value
        with translated_errors(writes=False):
            order = sort_by("created_at", descending=True)
            page = self._runs.find(query).sort(order).skip(offset).limit(limit)
            found = await page.allow_disk_use(allow_disk_use=True).to_list()
        return [run_row(document) for document in found]

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """See `MetadataStoreProtocol.delete_run`."""
        thread_key, key = check_uuid(thread_id, "thread_id"), check_uuid(run_id, "run_id")
        with translated_errors(writes=True):
            await self._runs.delete_one({"_id": str(key), "thread_id": str(thread_key)})

    async def touch_runs(self, run_ids: Sequence[str]) -> None:
        """See `MetadataStoreProtocol.touch_runs`."""
        keys = [str(key) for key in check_uuids(run_ids, "run_ids")]
        if keys:
            alive = {"_id": {"$in": keys}, "status": IN_FLIGHT}
            values = changes(await self._times())
            with translated_errors(writes=True):
                await self._runs.update_many(alive, {"$set": values})

    async def fail_stale_runs(
        self, *, stale_after_seconds: float, exclude_run_ids: Collection[str], error: str
    ) -> list[RunRow]:
        """See `MetadataStoreProtocol.fail_stale_runs`."""

        async def fail(session: AsyncClientSession) -> list[RunRow]:
            found = await self._runs.find(stale, session=session).to_list()
            rows = [run_row(document) for document in found]  # first: all can be returned
            ids = {"_id": {"$in": [document["_id"] for document in found]}}
            await self._runs.update_many(ids, {"$set": changes(values)}, session=session)
            return [RunRow(**{**row, **values}) for row in rows]  # type: ignore[typeddict-item]  # those keys

        exclude, error = check_stale(stale_after_seconds, exclude_run_ids, error)
        check_document_size("error", {"error": error})
        now = await self._now()
        values = {"status": "error", "error": error, "updated_at": now}
        stale = {
            "status": IN_FLIGHT,
            "_id": {"$nin": [str(key) for key in exclude]},
            **before("updated_at", now - timedelta(seconds=stale_after_seconds)),
        }
        failed = await self._client.transact(fail)
        for row in failed:
            _LOG.warning(
                "Failed run %s of thread %s, which was stale", row["run_id"], row["thread_id"]
            )
        return failed

    # --- Parts of the operations -------------------------------------------------------

    @property
    def _threads(self) -> AsyncCollection[Document]:
        return self._client.database[THREADS]

    @property
    def _runs(self) -> AsyncCollection[Document]:
        return self._client.database[RUNS]

    async def _now(self) -> datetime:
        """Return the server's time, later than the one before by a microsecond or more."""
        with translated_errors(writes=False):
            now = await self._client.now()
        if self._latest is not None and now <= self._latest < now + timedelta(milliseconds=1):
            now = self._latest + _ONE_MICROSECOND
        self._latest = now
        return now

    async def _times(self, *, state: bool = False) -> dict[str, datetime]:
        now = await self._now()
        return {"updated_at": now, "state_updated_at": now} if state else {"updated_at": now}

    async def _delete_with_runs(self, session: AsyncClientSession, key: str) -> None:
        await self._threads.delete_one({"_id": key}, session=session)
        await self._runs.delete_many({"thread_id": key}, session=session)

    async def _any_in_flight(self, session: AsyncClientSession, key: str) -> bool:
        runs = {"thread_id": key, "status": IN_FLIGHT}
        return await self._runs.find_one(runs, {"_id": 1}, session=session) is not None


class _Unchanged(Exception):  # noqa: N818 - aborts a transaction, and is not an error
    """The transaction is to be aborted."""
