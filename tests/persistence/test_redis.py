"""The scheme ``redis`` on a real server: opening, the checkpointer, and what its saver lacks."""

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from langchain_core.messages import HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import START, StateGraph
from pydantic import BaseModel
from redis.asyncio import Redis

from tests.graph.saver.making import checkpoint_of, config_for, ids, metadata_of, put_chain
from tests.graph.saver.making import thread as thread_name
from tests.support.patience import until
from tests.support.servers import process
from tests.support.servers.process import data_folder_of
from tests.support.servers.products import REDIS
from tests.support.servers.server import own_program
from tests.support.servers.supervisor import supervised
from threadlog.errors import (
    CommitOutcomeUnknownError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    InvalidInputError,
    ServerUnreachableError,
    StorageError,
    ThreadlogError,
    UnsupportedServerError,
)
from threadlog.persistence import open_checkpointer

SECRET = "s3cr3t"  # noqa: S105 - made up
NOBODY = "127.0.0.1:1"

BASE = {"put", "put_writes", "get_tuple", "list", "delete_thread"}


@pytest.fixture
async def saver(redis_url: str) -> AsyncIterator[Any]:
    """Yield the checkpointer of the scheme."""
    async with open_checkpointer(redis_url, scheme="redis") as opened:
        yield opened


@pytest.fixture
async def plain(redis_url: str) -> AsyncIterator[AsyncRedisSaver]:
    """Yield LangGraph's own saver, without threadlog's additions."""
    async with (
        Redis.from_url(redis_url) as client,
        AsyncRedisSaver.from_conn_string(redis_client=client) as opened,
    ):
        yield opened


def everywhere(thread_id: str) -> Any:
    """Return the config of a thread with all its namespaces."""
    return {"configurable": {"thread_id": thread_id}}


# --- The checkpointer --------------------------------------------------------------


async def conforming(opening: Any) -> set[str]:
    """Return the capabilities that pass LangGraph's suite."""

    async def factory() -> AsyncIterator[Any]:
        async with opening() as opened:
            yield opened

    report = await validate(checkpointer_test(name="redis")(factory))
    return {name for name, result in report.results.items() if result.passed}


async def test_the_checkpointer_conforms(redis_url: str) -> None:
    """All base capabilities pass, and pruning; LangGraph's own saver fails in two of them."""
    assert await conforming(lambda: open_checkpointer(redis_url, scheme="redis")) == BASE | {
        "prune"
    }
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
        own = await conforming(lambda: AsyncRedisSaver.from_conn_string(redis_client=client))
    assert own == BASE - {"list"}


async def test_threads_are_told_apart_by_case(saver: Any, plain: AsyncRedisSaver) -> None:
    """LangGraph's own saver lists both, deletes parts of the other and prunes the other."""
    lower, upper = "thread-a", "THREAD-A"
    for thread_id in (lower, upper):
        await put_chain(saver, thread_id, 2)
    assert len(await ids(plain.alist(everywhere(lower)))) == 4
    assert len(await ids(saver.alist(everywhere(lower)))) == 2
    await saver.aprune([lower])
    assert len(await ids(saver.alist(everywhere(lower)))) == 1
    assert len(await ids(saver.alist(everywhere(upper)))) == 2
    await saver.adelete_thread(lower)
    assert await saver.aget_tuple(everywhere(lower)) is None
    assert await saver.aget_tuple(everywhere(upper)) is not None


async def test_pruning_by_the_saver_alone_loses_a_thread_of_another_case(
    plain: AsyncRedisSaver,
) -> None:
    older, newer = "thread-a", "THREAD-A"
    for thread_id in (older, newer):
        await put_chain(plain, thread_id, 2)
    await plain.aprune([older])
    assert await plain.aget_tuple(config_for(older)) is None


async def test_pruning_keeps_the_newest_of_each_namespace(
    saver: Any, plain: AsyncRedisSaver, redis_url: str
) -> None:
    pruned, other = thread_name(), thread_name()
    newest = []
    for thread_id in (pruned, other):
        for checkpoint_ns in ("", "child:1"):
            chain = await put_chain(saver, thread_id, 3, checkpoint_ns)
            for config in chain:
                await saver.aput_writes(config, [("x", 1)], "task")
            newest.append(chain[-1])
    before = [await saver.aget_tuple(config) for config in newest]
    await saver.aprune([pruned])
    await saver.aprune([])
    assert [await saver.aget_tuple(config) for config in newest] == before
    assert [await saver.aget_tuple(config_for(pruned, ns)) for ns in ("", "child:1")] == before[:2]
    assert len(await ids(saver.alist(everywhere(pruned)))) == 2
    assert len(await ids(saver.alist(everywhere(other)))) == 6
    await saver.aprune([pruned], strategy="delete")
    async with Redis.from_url(redis_url) as client:
        left = [key.decode() async for key in client.scan_iter()]
        assert [key for key in left if pruned in key] == []
    with pytest.raises(ValueError, match="non-empty"):
        await plain.aprune([])


async def test_pruning_follows_the_pointer_to_the_newest(saver: Any) -> None:
    """The saver's newest is what was written last; what remains is the one of the largest id."""
    thread_id = thread_name()
    chain = await put_chain(saver, thread_id, 3)
    first = await saver.aget_tuple(chain[0])
    assert first is not None
    await saver.aput(config_for(thread_id), first.checkpoint, first.metadata, {})
    latest = await saver.aget_tuple(config_for(thread_id))
    assert latest is not None
    assert latest.checkpoint["id"] == first.checkpoint["id"], "written last"
    await saver.aprune([thread_id])
    latest = await saver.aget_tuple(config_for(thread_id))
    assert latest is not None
    assert latest.config == chain[-1]


async def test_deleting_leaves_nothing_of_a_thread(saver: Any, redis_url: str) -> None:
    gone, kept = thread_name(), thread_name()
    for thread_id in (gone, kept):
        for checkpoint_ns in ("", "child:1"):
            for config in await put_chain(saver, thread_id, 2, checkpoint_ns):
                await saver.aput_writes(config, [("x", 1), ("y", 2)], "task")
    await saver.adelete_thread(gone)
    async with Redis.from_url(redis_url) as client:
        left = [key.decode() async for key in client.scan_iter()]
    assert [key for key in left if gone in key] == []
    assert len([key for key in left if kept in key]) == 2 * (1 + 2 * (1 + 2 + 1))


async def test_listing_takes_a_namespace_a_filter_and_before(
    saver: Any, plain: AsyncRedisSaver
) -> None:
    thread_id = thread_name()
    root = await put_chain(saver, thread_id, 4, customer="u1")
    child = await put_chain(saver, thread_id, 2, "child:1", customer="u2")
    made = [config["configurable"]["checkpoint_id"] for config in root]
    assert await ids(saver.alist(config_for(thread_id))) == made[::-1]
    assert len(await ids(plain.alist(config_for(thread_id)))) == 6, "the root has no namespace"
    assert await ids(saver.alist(config_for(thread_id), before=root[2])) == made[1::-1]
    assert len(await ids(plain.alist(everywhere(thread_id), before=root[2]))) == 6
    found = await ids(saver.alist(everywhere(thread_id), filter={"customer": "u2"}, limit=1))
    assert found == [child[1]["configurable"]["checkpoint_id"]]
    with pytest.raises(ValueError, match="Unsupported filter key"):
        await ids(plain.alist(everywhere(thread_id), filter={"customer": "u2"}))
    assert await ids(saver.alist(root[1])) == [made[1]]
    assert await ids(saver.alist(root[1], limit=0)) == []
    assert len(await ids(saver.alist(None))) == 6
    assert await ids(saver.alist(everywhere(thread_id), filter={"customer": None})) == []


@pytest.mark.parametrize("thread_id", ["a b", "a-b", "a|b", "{a}", "*", "a:b", 'a"b', "ü😀", "@x"])
async def test_threads_of_any_name(saver: Any, thread_id: str) -> None:
    other = await put_chain(saver, f"{thread_id}x", 2)
    made = await put_chain(saver, thread_id, 2)
    assert len(await ids(saver.alist(everywhere(thread_id)))) == 2
    found = await saver.aget_tuple(everywhere(thread_id))
    assert found is not None
    assert found.config == made[-1]
    await saver.adelete_thread(thread_id)
    assert await ids(saver.alist(everywhere(thread_id))) == []
    assert await saver.aget_tuple(other[-1]) is not None


async def test_more_than_a_page_is_read(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search returns so many results; the next ones are asked for."""
    monkeypatch.setattr("threadlog.persistence.redis_saver._PAGE", 3)
    thread_id = thread_name()
    made = await put_chain(saver, thread_id, 8)
    for config in made:
        await saver.aput_writes(config, [("x", 1)], "task")
    assert len(await ids(saver.alist(everywhere(thread_id)))) == 8
    await saver.aprune([thread_id], keep_last=4)
    assert len(await ids(saver.alist(everywhere(thread_id)))) == 4
    await saver.adelete_thread(thread_id)
    assert await ids(saver.alist(everywhere(thread_id))) == []


async def test_a_server_that_returns_less_than_there_is_is_an_error(
    saver: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MAXSEARCHRESULTS limits searches; what lies beyond it is not taken for nothing."""
    monkeypatch.setattr("threadlog.persistence.redis_saver._PAGE", 3)
    thread_id = thread_name()
    await put_chain(saver, thread_id, 8)
    async with Redis.from_url(redis_url) as client:
        run: Any = client.execute_command
        (before,) = (await run("FT.CONFIG", "GET", "MAXSEARCHRESULTS")).values()
        await run("FT.CONFIG", "SET", "MAXSEARCHRESULTS", "5")
        try:
            for refused in (
                ids(saver.alist(everywhere(thread_id))),
                saver.adelete_thread(thread_id),
                saver.aprune([thread_id]),
            ):
                with pytest.raises(StorageError):
                    await refused
        finally:
            await run("FT.CONFIG", "SET", "MAXSEARCHRESULTS", before)
    assert len(await ids(saver.alist(everywhere(thread_id)))) == 8


async def test_pending_writes_are_in_the_order_of_tasks(saver: Any, plain: AsyncRedisSaver) -> None:
    (config,) = await put_chain(saver, thread_name(), 1)
    for task_id in ("c", "a", "b"):
        await saver.aput_writes(config, [("x", 1), ("y", 2)], task_id)
    wanted = [(task, channel) for task in "abc" for channel in "xy"]
    for each, is_ordered in ((saver, True), (plain, False)):
        found = await each.aget_tuple(config)
        assert found is not None
        order = [(task_id, channel) for task_id, channel, _ in found.pending_writes or ()]
        assert (order == wanted) is is_ordered
    (listed,) = [each async for each in saver.alist(config)]
    assert [task_id for task_id, *_ in listed.pending_writes] == list("aabbcc")


async def test_pending_writes_are_in_the_order_in_which_they_are_applied(saver: Any) -> None:
    """By the paths of the tasks, whose ids are hashes; the writes of a task by their places."""
    (config,) = await put_chain(saver, thread_name(), 1)
    writes = [("x", place) for place in range(12)]
    for task_id, path in (("a", "~2"), ("c", "~1"), ("b", "")):
        await saver.aput_writes(config, writes, task_id, path)
    wanted = [(task, "x", place) for task in "bca" for place in range(12)]
    listed = [each async for each in saver.alist(config)]
    for found in (await saver.aget_tuple(config), *listed):
        assert found.pending_writes == wanted


async def test_a_delta_channel_adds_up_in_the_order_of_the_run(saver: Any) -> None:
    names = [f"node {place}" for place in range(6)]

    class State(TypedDict):
        said: Annotated[list[str], DeltaChannel(in_order, snapshot_frequency=100)]

    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, lambda _, name=name: {"said": [name]})
        builder.add_edge(START, name)
    config: Any = {"configurable": {"thread_id": thread_name()}}
    graph = builder.compile(checkpointer=saver)
    done = await graph.ainvoke({"said": []}, config)
    assert done["said"] == names
    assert (await graph.aget_state(config)).values["said"] == names


def in_order(said: list[str], more: Sequence[list[str]]) -> list[str]:
    """Return the list with those of the writes behind it."""
    return [*said, *(each for some in more for each in some)]


VALUES: dict[str, Any] = {
    "datetime": datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=2))),
    "naive": datetime.fromisoformat("2026-01-02"),
    "date": date(2026, 1, 2),
    "time": time(3, 4, 5, 6),
    "timedelta": timedelta(days=1, seconds=2, microseconds=3),
    "timezone": timezone(timedelta(hours=-3)),
    "zone": ZoneInfo("Europe/Berlin"),
    "uuid": uuid4(),
    "decimal": Decimal("1.10"),
    "path": Path("a/b"),
    "pattern": re.compile("a+", re.IGNORECASE),
    "deque": deque([Decimal(1), 2], maxlen=3),
    "frozenset": frozenset({date(2026, 1, 2)}),
    "address": ip_address("::1"),
    "network": ip_network("10.0.0.0/8"),
}


@pytest.mark.parametrize("beside", ["text", b"bytes"])
async def test_values_of_types_that_json_lacks_come_back(
    saver: Any, plain: AsyncRedisSaver, beside: object
) -> None:
    """LangGraph's own saver returns a Decimal of 0, an empty deque, texts in place of times."""
    message = HumanMessage("a", additional_kwargs={"d": Decimal(2)})
    written = {"list": [VALUES], "message": message, "beside": beside}
    for each, is_equal in ((saver, True), (plain, False)):
        config = config_for(thread_name())
        stored = await each.aput(config, checkpoint_of({"x": written}, {"x": "1"}), {}, {"x": "1"})
        await each.aput_writes(stored, [("x", written)], "task")
        found = await each.aget_tuple(stored)
        assert found is not None
        values = [found.checkpoint["channel_values"]["x"], (found.pending_writes or [])[0][2]]
        assert (values == [written, written]) is is_equal


async def test_a_write_that_is_stored_again_replaces_the_first(saver: Any) -> None:
    """A limit of LangGraph's own saver, which the documentation names."""
    (config,) = await put_chain(saver, thread_name(), 1)
    for value in (1, 2):
        await saver.aput_writes(config, [("x", value)], "task")
    assert (await saver.aget_tuple(config)).pending_writes == [("task", "x", 2)]


class Color(Enum):
    RED = "r"


class Model(BaseModel):
    x: int = 1


async def test_objects_of_other_types_come_back_as_json(saver: Any) -> None:
    """A limit of LangGraph's own saver, which the documentation names."""
    (config,) = await put_chain(saver, thread_name(), 1)
    values = (Color.RED, Model(), ValueError("a"))
    await saver.aput_writes(config, [("x", value) for value in values], "task")
    found = [value for _, _, value in (await saver.aget_tuple(config)).pending_writes]
    assert found[0] == "r"
    assert found[1]["kwargs"] == {"x": 1}
    assert found[2]["id"] == ["builtins", "ValueError"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_number_that_json_lacks_is_refused(saver: Any, number: float) -> None:
    """LangGraph's own saver stores null."""
    (config,) = await put_chain(saver, thread_name(), 1)
    with pytest.raises(InvalidInputError, match=f"contains {number}, which JSON lacks"):
        await saver.aput_writes(config, [("x", [number])], "task")
    assert (await saver.aget_tuple(config)).pending_writes == []


async def test_a_limit_of_zero_lists_nothing(saver: Any) -> None:
    (config,) = await put_chain(saver, thread_name(), 1)
    for limit in (0, -1):
        assert await ids(saver.alist(config, limit=limit)) == []


async def test_a_run_id_is_stored(saver: Any, plain: AsyncRedisSaver) -> None:
    run_id = str(uuid4())
    for where in ("configurable", "top"):
        for each, stamped in ((plain, None), (saver, run_id)):
            config: Any = config_for(thread_name())
            (config if where == "top" else config["configurable"])["run_id"] = run_id
            stored = await each.aput(config, checkpoint_of(), metadata_of(), {})
            found = await each.aget_tuple(stored)
            assert found is not None
            assert found.metadata.get("run_id") == stamped
            listed = [t async for t in saver.alist(stored, filter={"run_id": run_id})]
            assert len(listed) == (stamped is not None)


async def test_options_reach_the_saver(redis_url: str) -> None:
    options = {
        "ttl": {"default_ttl": 60, "refresh_on_read": True},
        "checkpoint_prefix": "shop",
        "checkpoint_write_prefix": "shop_write",
    }
    async with open_checkpointer(redis_url, scheme="redis", options=options) as opened:
        (config,) = await put_chain(opened, "a", 1)
        await opened.aput_writes(config, [("x", 1)], "task")
        assert await ids(opened.alist(everywhere("a"))) == [config["configurable"]["checkpoint_id"]]
        async with Redis.from_url(redis_url) as client:
            keys = [key async for key in client.scan_iter()]
            assert {key.decode().partition(":")[0] for key in keys} == {
                *("shop", "shop_latest", "shop_write", "write_keys_zset")
            }
            assert all([0 < await client.ttl(key) <= 3600 for key in keys])
        await opened.adelete_thread("a")
    with pytest.raises(ConfigurationError, match="does not know the option 'serde'"):
        async with open_checkpointer(redis_url, scheme="redis", options={"serde": None}):
            pass


async def test_the_saver_alone_cannot_use_a_cipher(
    plain: AsyncRedisSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stores is JSON, and so the scheme takes no serializer."""
    monkeypatch.setenv("LANGGRAPH_AES_KEY", "0123456789abcdef")
    plain.serde = EncryptedSerializer.from_pycryptodome_aes(plain.serde)
    with pytest.raises(UnicodeDecodeError):
        await plain.aput(config_for("a"), checkpoint_of(), metadata_of(), {})


# --- Opening -----------------------------------------------------------------------


async def refused(uri: str) -> ThreadlogError:
    """Return the error of opening."""
    with pytest.raises(ThreadlogError) as caught:
        async with open_checkpointer(uri, scheme="redis"):
            pass
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (f"mongodb://:{SECRET}@h/0", "begins with mongodb://"),
        (f"{SECRET}@h", "is no URI"),
        (f"redis://:{SECRET}@h:port/0", "not valid"),
        (f"redis://:{SECRET}@h/1", "database '1'"),
        (f"redis://:{SECRET}@h/0?db=2", "database '2'"),
        (f"redis://:{SECRET}@h/shop", "database 'shop'"),
        (f"redis://:{SECRET}@h/0?socket_connect_timeout=soon", "not valid"),
    ],
)
async def test_a_uri_that_does_not_fit_is_refused(uri: str, reason: str) -> None:
    error = await refused(uri)
    assert isinstance(error, ConfigurationError)
    assert reason in str(error)
    assert "redis://host:6379/0" in str(error)


async def test_a_server_that_is_down_is_named() -> None:
    error = await refused(f"redis://:{SECRET}@{NOBODY}/0?socket_connect_timeout=0.3")
    assert isinstance(error, ServerUnreachableError)
    assert NOBODY in str(error)


async def test_a_server_that_does_not_answer_is_named_after_the_timeout_asked_for() -> None:
    """It accepts the connection and says nothing."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        limits = "socket_connect_timeout=0.3&socket_timeout=0.3"
        error = await refused(f"redis://:{SECRET}@127.0.0.1:{port}/0?{limits}")
    assert isinstance(error, StorageError)
    assert error.retryable


async def test_a_wrong_password_is_named(redis_url: str) -> None:
    uri = redis_url.replace("redis://", f"redis://me:{SECRET}@")
    assert isinstance(await refused(uri), ConnectionFailedError)


def server_options() -> dict[str, Any]:
    """Return the options of a server of the test's own."""
    program = own_program(REDIS)
    data = str(data_folder_of(REDIS, program))
    return {"product": REDIS.name, "command": program.command, "data": data}


@pytest.mark.processes
async def test_a_redis_without_modules_is_named(tmp_path: Path) -> None:
    program, port = own_program(REDIS), process.free_port()
    (tmp_path / "data").mkdir()
    options = REDIS.settings(False)  # noqa: FBT003 - its type is Product's
    started = process._spawn(REDIS, [str(program.path)], tmp_path, port, options)
    try:

        async def ready() -> bool:
            return REDIS.ready in read_text(str(tmp_path / "log")).encode()

        await until(ready)
        error = await refused(REDIS.url(port))
    finally:
        process._stop(REDIS, started)
    assert isinstance(error, UnsupportedServerError)
    assert "a Redis without RediSearch and RedisJSON" in str(error)


# --- kill -9 -----------------------------------------------------------------------


async def write_until(stop: asyncio.Event, saver: Any, kept: list[Any]) -> None:
    """Write checkpoints with writes; note what was acknowledged."""
    while not stop.is_set():
        try:
            (config,) = await put_chain(saver, thread_name(), 1)
            await saver.aput_writes(config, [("x", 1)], "task")
        except (CommitOutcomeUnknownError, ConnectionLostError, StorageError):
            await asyncio.sleep(0.05)
        else:
            kept.append(config)


@pytest.mark.processes
async def test_nothing_acknowledged_is_lost_when_the_server_is_killed() -> None:
    """With ``appendfsync always``, as Redis promises."""
    kept: list[Any] = []
    stop = asyncio.Event()
    with supervised("restarting", **server_options(), durable=True) as report:
        async with open_checkpointer(report["url"], scheme="redis") as saver:
            async with asyncio.TaskGroup() as writers:
                for _ in range(4):
                    writers.create_task(write_until(stop, saver, kept))
                await kill_and_go_on(report, kept)
                stop.set()
            for config in kept:
                found = await saver.aget_tuple(config)
                assert found is not None
                assert found.pending_writes == [("task", "x", 1)]
    print(f"{len(kept)} checkpoints")


async def kill_and_go_on(report: dict[str, str], kept: list[Any]) -> None:
    """Kill the server when some writes were acknowledged, and wait until more are."""
    for more in (20, 30):
        least = len(kept) + more

        async def enough(least: int = least) -> bool:
            return len(kept) >= least

        await until(enough)
        if more == 20:
            os.kill(int(read_text(report["pid_file"])), signal.SIGKILL)


def read_text(path: str) -> str:
    """Return the text of a file."""
    return Path(path).read_text(encoding="utf-8")
