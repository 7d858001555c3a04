"""LangGraph's checkpointer for Redis, with what it lacks; see docs/persistence.md."""

import re
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import isfinite
from pathlib import PurePath
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    writes_sort_key,
)
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.jsonplus_redis import JsonPlusRedisSerializer
from langgraph.checkpoint.redis.key_registry import CheckpointKeyRegistry
from langgraph.checkpoint.redis.util import (
    from_storage_safe_id,
    from_storage_safe_str,
    to_storage_safe_id,
)
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redisvl.exceptions import RedisVLError
from redisvl.query import FilterQuery
from redisvl.query.filter import Tag

from threadlog.encoding.validation import check_one_of
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    InvalidInputError,
    ServerUnreachableError,
    StorageError,
    UnsupportedServerError,
)
from threadlog.langgraph.serialization import stored_metadata

EXAMPLE: Final = "redis://host:6379/0"

_SCHEMES: Final = ("redis", "rediss")
_LIMITS: Final = {"socket_connect_timeout": 10.0, "socket_timeout": 60.0}
_PAGE: Final = 1_000
_ORDER: Final = ("task_path", "task_id", "idx")

# Types whose constructor takes the text of a value.
_AS_TEXT: Final = (
    *(Decimal, UUID, PurePath, ZoneInfo),
    *(IPv4Address, IPv6Address, IPv4Network, IPv6Network),
)


def _check_uri(uri: str) -> None:
    """Check that a URI is of Redis's first database, the only one that can be searched.

    Raises:
        ConfigurationError: it is of another scheme, or names another database.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme.casefold() not in _SCHEMES:
        named = f"begins with {scheme}://" if separator and "@" not in scheme else "is no URI"
        raise ConfigurationError(
            f"The scheme is 'redis', but the URI {named}. Use a URI such as {EXAMPLE}, or another "
            "scheme."
        )
    parts = urlsplit(uri)
    database = dict(parse_qsl(parts.query)).get("db", parts.path.strip("/")) or "0"
    if database != "0":
        raise ConfigurationError(
            f"The URI names database {database!r}, and Redis searches only database 0. Use a URI "
            f"such as {EXAMPLE}, and the option checkpoint_prefix to share the server."
        )


@asynccontextmanager
async def opened_saver(uri: str, options: Mapping[str, Any]) -> AsyncIterator["RedisSaver"]:
    """Open a saver, which is closed at the end of the block.

    Raises:
        ConfigurationError: the URI is not valid.
        UnsupportedServerError: the server lacks the modules.
        StorageError: the server cannot be reached.
    """
    _check_uri(uri)
    with _errors(writes=False):
        await _check_server(uri)
        # Every call may be repeated with the same result; a restarted server costs one attempt.
        client = _client(uri, attempts=1)
        try:
            saver = RedisSaver(redis_client=client, **options)
            await saver.__aenter__()
        except BaseException:
            await client.aclose()
            raise
    try:
        yield saver
    finally:
        await saver.__aexit__(None, None, None)
        await client.aclose()


def _client(uri: str, *, attempts: int) -> Redis:
    given = dict(parse_qsl(urlsplit(uri).query))
    limits: dict[str, Any] = {name: limit for name, limit in _LIMITS.items() if name not in given}
    try:
        return Redis.from_url(uri, retry=Retry(NoBackoff(), attempts), **limits)
    except ValueError as error:
        raise ConfigurationError(
            f"The Redis URI is not valid: see the cause. Use one such as {EXAMPLE}."
        ) from error


async def _check_server(uri: str) -> None:
    """Check that the server answers within the timeout, and has the modules."""
    async with _client(uri, attempts=0) as client:
        missing = []
        probes = {"RediSearch": ["FT._LIST"], "RedisJSON": ["JSON.GET", "threadlog"]}
        for module, command in probes.items():
            try:
                await client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis's own
            except exceptions.ResponseError as error:
                if "unknown command" not in str(error):
                    raise
                missing.append(module)
    if missing:
        raise UnsupportedServerError(
            found=f"a Redis without {' and '.join(missing)}",
            required="Redis 8 or Redis Stack, or a Redis that loads those modules",
        )


class _Found(NamedTuple):
    """A checkpoint or a write that a search found."""

    key: str
    checkpoint_ns: str
    checkpoint_id: str
    thread_id: str


class _Serializer(JsonPlusRedisSerializer):
    """LangGraph's serializer for Redis, with the values of types that JSON lacks.

    LangGraph's own stores them as texts, or without their values: a Decimal came back as 0. The
    form, the name of a type with its arguments, is one that LangGraph's serializers read.
    """

    def _preprocess_redis_json(
        self, obj: Any, *, encode_bytes: Callable[[bytes], Any] | None = None
    ) -> Any:
        """Convert a value to JSON, recursively."""
        if isinstance(obj, float) and not isfinite(obj):
            raise InvalidInputError(
                f"The state contains {obj}, which JSON lacks, and so Redis. Nothing was written. "
                "Store None or a text in its place, or use another scheme."
            )
        named = _named(obj)
        if named is not None:
            obj = self._encode_constructor_envelope(named[0], args=named[1:])
        return super()._preprocess_redis_json(obj, encode_bytes=encode_bytes)

    def _default_handler(self, obj: Any) -> Any:
        """Convert a value inside an object that is no container, such as a message."""
        named = _named(obj)
        if named is None:
            return super()._default_handler(obj)
        return self._encode_constructor_envelope(named[0], args=named[1:])


def _named(obj: Any) -> tuple[Any, ...] | None:
    """Return a type that JSON lacks and the arguments that make the value; None for others."""
    named: tuple[Any, ...] | None = None
    match obj:
        case datetime():
            zone = _zone(obj.utcoffset())
            named = datetime, *obj.timetuple()[:6], obj.microsecond, zone
        case date():
            named = date, *obj.timetuple()[:3]
        case time():
            zone = _zone(obj.utcoffset())
            named = time, obj.hour, obj.minute, obj.second, obj.microsecond, zone
        case timedelta():
            named = timedelta, obj.days, obj.seconds, obj.microseconds
        case timezone():
            named = timezone, obj.utcoffset(None)
        case re.Pattern():
            named = re.compile, obj.pattern, obj.flags
        case deque():
            named = deque, [*obj], obj.maxlen
        case frozenset():
            named = frozenset, [*obj]
        case _ if isinstance(obj, _AS_TEXT):
            named = type(obj), str(obj)
    return named


def _zone(offset: timedelta | None) -> timezone | None:
    return None if offset is None else timezone(offset)


class RedisSaver(AsyncRedisSaver):
    """LangGraph's AsyncRedisSaver, with exact thread ids, filters, `before` and run ids.

    A search of Redis ignores the case of letters and returns limited numbers. Here its results
    are compared exactly and read page by page.
    """

    def __init__(self, **options: Any) -> None:
        """Create a saver, with LangGraph's options."""
        super().__init__(**options)
        self.serde = _Serializer()

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes in the order of tasks."""
        with _errors(writes=False):
            return await super().aget_tuple(config)

    async def _aload_pending_writes(
        self, thread_id: str, checkpoint_ns: str = "", checkpoint_id: str = ""
    ) -> list[PendingWrite]:
        """Return the pending writes of a checkpoint in the order in which they are applied."""
        name = CheckpointKeyRegistry.make_write_keys_zset_key(
            thread_id, checkpoint_ns, checkpoint_id
        )
        pipeline = self._redis.pipeline(transaction=False)
        for key in await self._redis.zrange(name, 0, -1):
            pipeline.json().get(as_text(cast("bytes | str", key)))
        found = [write for write in await pipeline.execute() if write]
        found.sort(key=lambda write: writes_sort_key(*(write[name] for name in _ORDER)))
        return self._load_writes(
            self.serde, {(write["task_id"], str(write["idx"])): write for write in found}
        )

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first.

        Args:
            config: names a thread, a namespace and a checkpoint, as far as it has them.
            filter: members of the metadata, each equal.
            before: yield only checkpoints with a smaller id.
            limit: the most checkpoints to yield.
        """
        configurable = config["configurable"] if config else {}
        checkpoint_ns, wanted = configurable.get("checkpoint_ns"), configurable.get("checkpoint_id")
        end = get_checkpoint_id(before) if before else None
        left = limit
        with _errors(writes=False):
            candidates = await self._search(self.checkpoints_index, configurable.get("thread_id"))
        for found in candidates:
            is_wanted = (
                checkpoint_ns in {None, found.checkpoint_ns}
                and (not wanted or found.checkpoint_id == wanted)
                and (not end or found.checkpoint_id < end)
            )
            if left is not None and left <= 0:
                return
            if not is_wanted:
                continue
            names = {"thread_id": found.thread_id, "checkpoint_ns": found.checkpoint_ns}
            each: RunnableConfig = {"configurable": {**names, "checkpoint_id": found.checkpoint_id}}
            loaded = await self.aget_tuple(each)
            if loaded is None:  # deleted, or expired, since it was found
                continue
            metadata = cast("dict[str, Any]", loaded.metadata)
            if all(metadata.get(key) == value for key, value in (filter or {}).items()):
                yield loaded
                left = None if left is None else left - 1

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
        stream_mode: str = "values",
    ) -> RunnableConfig:
        """Store a checkpoint, with the id of its run in the metadata."""
        stamped = cast("CheckpointMetadata", stored_metadata(config, metadata))
        with _errors(writes=True):
            return await super().aput(config, checkpoint, stamped, new_versions, stream_mode)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store the writes of a task."""
        with _errors(writes=True):
            await super().aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints and writes, and no other thread's."""
        with _errors(writes=True):
            checkpoints = await self._search(self.checkpoints_index, thread_id)
            writes = await self._search(self.checkpoint_writes_index, thread_id)
            spaces = {"", *(found.checkpoint_ns for found in (*checkpoints, *writes))}
            pointers = [self._make_redis_checkpoint_latest_key(thread_id, ns) for ns in spaces]
            await self._delete([*pointers, *self._keys(checkpoints), *self._keys(writes)])

    async def aprune(
        self,
        thread_ids: Sequence[str],
        *,
        strategy: str = "keep_latest",
        keep_last: int | None = None,
        max_results: int = 10_000,
    ) -> None:
        """Delete all but the newest checkpoints of each namespace, or all of them.

        Args:
            thread_ids: the threads.
            strategy: ``keep_latest`` or ``delete``.
            keep_last: how many checkpoints of a namespace remain; None for as the strategy says.
            max_results: ignored, since all checkpoints are looked at.
        """
        check_one_of(strategy, "strategy", ("keep_latest", "delete"))
        kept = (0 if strategy == "delete" else 1) if keep_last is None else keep_last
        for thread_id in thread_ids:
            if kept == 0:
                await self.adelete_thread(thread_id)
            else:
                with _errors(writes=True):
                    await self._keep(thread_id, kept)

    async def _keep(self, thread_id: str, kept: int) -> None:
        spaces: dict[str, list[_Found]] = defaultdict(list)
        for found in await self._search(self.checkpoints_index, thread_id):
            spaces[found.checkpoint_ns].append(found)
        older = {found for each in spaces.values() for found in each[kept:]}
        places = {(found.checkpoint_ns, found.checkpoint_id) for found in older}
        writes = [
            found
            for found in await self._search(self.checkpoint_writes_index, thread_id)
            if (found.checkpoint_ns, found.checkpoint_id) in places
        ]
        keys = [*self._keys(list(older)), *self._keys(writes)]
        for checkpoint_ns, each in spaces.items():
            pointer = self._make_redis_checkpoint_latest_key(thread_id, checkpoint_ns)
            await self._repoint(pointer, {found.key for found in each[kept:]}, each[0].key)
        await self._delete(keys)

    async def _repoint(self, pointer: str, gone: set[str], newest: str) -> None:
        """Point to the newest checkpoint where a pointer names one that is to be deleted."""
        async with self._redis.pipeline() as pipeline:
            await pipeline.watch(pointer)
            target = await pipeline.get(pointer)
            if target is not None and as_text(target) in gone:
                pipeline.multi()  # type: ignore[no-untyped-call]  # redis's own
                pipeline.set(pointer, newest, keepttl=True)
                with suppress(exceptions.WatchError):  # a newer checkpoint has been stored
                    await pipeline.execute()

    async def _search(self, index: Any, thread_id: str | None) -> list[_Found]:
        """Return what an index has of a thread or of all, newest checkpoint first."""
        safe = None if thread_id is None else to_storage_safe_id(thread_id)
        query = FilterQuery(
            filter_expression=None if safe is None else Tag("thread_id") == safe,
            return_fields=["thread_id", "checkpoint_ns", "checkpoint_id"],
            sort_by=("checkpoint_id", "DESC"),
        )
        found: list[_Found] = []
        total, offset = 1, 0
        while offset < total:
            page = await index.search(query.paging(offset, _PAGE))
            total, offset = page.total, offset + _PAGE
            # The server's comparison ignores case.
            found += [
                _Found(
                    key=as_text(each.id),
                    thread_id=from_storage_safe_id(each.thread_id),
                    checkpoint_ns=from_storage_safe_str(each.checkpoint_ns),
                    checkpoint_id=from_storage_safe_id(each.checkpoint_id),
                )
                for each in page.docs
                if safe in {None, each.thread_id}
            ]
        return sorted(found, key=lambda each: each.checkpoint_id, reverse=True)

    def _keys(self, found: Sequence[_Found]) -> list[str]:
        """Return the keys of checkpoints or writes, and of the lists of their writes."""
        make = CheckpointKeyRegistry.make_write_keys_zset_key
        lists = {make(each.thread_id, each.checkpoint_ns, each.checkpoint_id) for each in found}
        return [*(each.key for each in found), *lists]

    async def _delete(self, keys: Sequence[str]) -> None:
        for place in range(0, len(keys), _PAGE):
            await self._redis.delete(*keys[place : place + _PAGE])


def as_text(value: bytes | str) -> str:
    """Return a key as text, which a client returns as bytes unless told otherwise."""
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _errors(*, writes: bool) -> Iterator[None]:
    """Raise errors of Redis and of its libraries as threadlog's."""
    try:
        yield
    except (exceptions.RedisError, RedisVLError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, exceptions.RedisError):
            cause = cause.__cause__ or cause.__context__
        raise _translated(cause or error, writes=writes) from error


def _translated(error: BaseException, *, writes: bool) -> StorageError:
    reason = str(error) or type(error).__name__
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return ConnectionFailedError(reason)
    if "connecting to" in reason:
        return ServerUnreachableError(reason)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
        return (CommitOutcomeUnknownError if writes else ConnectionLostError)(reason)
    return StorageError(reason)
