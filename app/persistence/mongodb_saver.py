"""LangGraph's checkpointer for MongoDB, with what it lacks; see docs/persistence.md."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, cast

from bson.codec_options import TypeRegistry
from langchain_core.runnables import RunnableConfig, run_in_executor
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.mongodb import MongoDBSaver
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.cursor import Cursor
from pymongo.errors import BulkWriteError, DocumentTooLarge

from threadlog.encoding.validation import check_one_of
from threadlog.errors import TooLargeError
from threadlog.langgraph.serialization import stored_metadata
from threadlog.persistence.mongodb_client import (
    DOCUMENT_BYTES,
    Document,
    check_acknowledged,
    created,
    parse_mongodb_uri,
    translated_errors,
)

_DATABASE: Final = "checkpointing_db"
_ORDER: Final = [("task_path", 1), ("task_id", 1), ("idx", 1)]


def _to_bson(value: Any) -> Any:
    """Convert a bytearray, which LangGraph's serializer passes on; BSON has no type for it."""
    return bytes(value) if isinstance(value, bytearray) else value


_TYPES: Final = TypeRegistry(fallback_encoder=_to_bson)


class MongoSaver(MongoDBSaver):
    """LangGraph's MongoDBSaver, with pruning, ordered writes and threadlog's errors."""

    def __init__(self, uri: str, **options: Any) -> None:
        """Connect, and create the indexes.

        Args:
            uri: the server's address.
            options: ``serde``, ``ttl`` in seconds and the names of the two collections.

        Raises:
            ConfigurationError: the URI is not valid.
            StorageError: the server cannot be reached.
        """
        parsed = parse_mongodb_uri(uri)
        with translated_errors(writes=False):
            client = created(MongoClient[Document], parsed, type_registry=_TYPES)
            try:
                check_acknowledged(client.write_concern)
                super().__init__(client, parsed.database or _DATABASE, **options)
            except BaseException:
                client.close()
                raise
        self.writes_collection = _OrderedWrites(self.db, self.writes_collection.name)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes in the order of tasks."""
        with _errors(writes=False):
            return super().get_tuple(config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first; of one id if the config has one."""
        wanted = get_checkpoint_id(config) if config else None
        if limit is not None and limit <= 0:  # no limit to MongoDB
            return
        with _errors(writes=False):
            found = super().list(
                config, filter=filter, before=before, limit=None if wanted else limit
            )
            if wanted:
                same = (each for each in found if get_checkpoint_id(each.config) == wanted)
                found = islice(same, limit)
            yield from found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, with the id of its run in the metadata."""
        stamped = cast("CheckpointMetadata", stored_metadata(config, metadata))
        with _errors(writes=True):
            return super().put(config, checkpoint, stamped, new_versions)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store the writes of a task; no writes are nothing to store."""
        if writes:
            with _errors(writes=True):
                try:
                    super().put_writes(config, writes, task_id, task_path)
                except BulkWriteError:
                    stored = self._stored_path(config, task_id)
                    if stored in {None, task_path}:
                        raise
                    super().put_writes(config, writes, task_id, stored)

    def _stored_path(self, config: RunnableConfig, task_id: str) -> Any:
        """Return the path with which writes of a task are stored; None if there are none.

        The path is no part of the writes' key, and ``update_state`` writes without a path.
        """
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        place = {name: config["configurable"][name] for name in names}
        found = self.writes_collection.find_one({**place, "task_id": task_id})
        return None if found is None else found["task_path"]

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints and writes."""
        with _errors(writes=True):
            super().delete_thread(thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the newest checkpoint of each namespace, or all of them."""
        check_one_of(strategy, "strategy", ("keep_latest", "delete"))
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
            else:
                with _errors(writes=True):
                    self._keep_latest(thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Run `prune` in a thread."""
        return await run_in_executor(None, self.prune, thread_ids, strategy=strategy)

    def _keep_latest(self, thread_id: str) -> None:
        thread = {"thread_id": str(thread_id)}
        latest = {"_id": "$checkpoint_ns", "checkpoint_id": {"$max": "$checkpoint_id"}}
        for found in self.checkpoint_collection.aggregate([{"$match": thread}, {"$group": latest}]):
            ids = {"checkpoint_id": {"$lt": found["checkpoint_id"]}}
            older = {**thread, "checkpoint_ns": found["_id"], **ids}
            # The writes last: without their checkpoint nothing reads them.
            self.checkpoint_collection.delete_many(older)
            self.writes_collection.delete_many(older)


class _OrderedWrites(Collection[Document]):
    """A collection of pending writes that are found in the order of tasks.

    MongoDBSaver asks for no order, and MongoDB promises none.
    """

    def find(self, *args: Any, **kwargs: Any) -> Cursor[Document]:
        return super().find(*args, **kwargs).sort(_ORDER)


@contextmanager
def _errors(*, writes: bool) -> Iterator[None]:
    """Raise the driver's errors as threadlog's."""
    try:
        with translated_errors(writes=writes):
            yield
    except DocumentTooLarge as error:
        sizes = [int(digits) for digits in re.findall(r"\d+", str(error))]
        size = max(sizes, default=DOCUMENT_BYTES)
        what = "the checkpoint or a write"
        raise TooLargeError(what=what, size=size, limit=DOCUMENT_BYTES) from error
