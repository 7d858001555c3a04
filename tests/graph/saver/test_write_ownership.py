"""Write ownership: the writes of a superseded owner are refused, as LangGraph's suite proposes."""

import asyncio
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from sqlalchemy import Engine
from sqlalchemy.util import await_only

from tests.graph.saver.making import checkpoint_of, config_for, id_of, ids, metadata_of, thread
from tests.graph.ways import InThreads, Way
from tests.support.commits import lost_commits
from tests.support.counting import StatementCount
from tests.support.databases import engine_for
from tests.support.matrix import rounds
from tests.support.patience import until
from threadlog import observe
from threadlog.errors import (
    CommitOutcomeUnknownError,
    InvalidInputError,
    WriteOwnershipLostError,
)
from threadlog.events import CallEnded, Event
from threadlog.graph.client import GraphClient
from threadlog.langgraph import Saver
from threadlog.runtime.client import EngineClient

ROUNDS = rounds(50)


def engine_of(saver: Saver) -> Engine:
    """Return the engine with which an open saver writes."""
    client = saver._slot.client
    assert isinstance(client, GraphClient)
    assert isinstance(client.operations, EngineClient)
    assert client.operations.engine is not None
    return client.operations.engine


async def claim(way: Way, thread_id: str) -> Any:
    """Claim a thread's writes; return the owner's saver under asynchronous names."""
    owned = await way.call("claim_write_ownership", thread_id)
    return InThreads(owned) if way.synchronous else owned


async def put(saver: Any, thread_id: str, parent: RunnableConfig | None = None) -> RunnableConfig:
    """Store a checkpoint with a value."""
    checkpoint = checkpoint_of({"a": "x"})
    config: RunnableConfig = await saver.aput(
        parent or config_for(thread_id), checkpoint, metadata_of(), checkpoint["channel_versions"]
    )
    return config


async def write(saver: Any, config: RunnableConfig, value: str, channel: str = "a") -> None:
    """Store a write of the one task."""
    await saver.aput_writes(config, [(channel, value)], "task")


async def written(way: Way, config: RunnableConfig) -> list[Any]:
    """Return the values of the checkpoint's writes."""
    found = await way.call("get_tuple", config)
    return [value for _, _, value in found.pending_writes]


async def test_superseded_owner_cannot_fork_the_chain(way: Way) -> None:
    first, name = await claim(way, "t"), "t"
    one = await put(first, name)
    second = await claim(way, name)
    two = await put(second, name, one)
    for _ in range(2):
        with pytest.raises(WriteOwnershipLostError) as caught:
            await put(first, name, one)
    assert caught.value.thread_id == name
    assert caught.value.is_stale_write_owner_error is True
    assert [id_of(found.config) for found in await way.tuples(config_for(name))] == [
        id_of(two),
        id_of(one),
    ]
    await put(second, name, two)
    await put(await claim(way, "other"), "other")
    await put(second, name, two)  # owners of other threads do not matter


@pytest.mark.parametrize("channel", ["a", "__resume__", "__interrupt__"])
async def test_superseded_owner_cannot_write(way: Way, channel: str) -> None:
    """Neither before the owner, nor in place of what the owner wrote."""
    first = await claim(way, "t")
    config = await put(first, "t")
    second = await claim(way, "t")
    with pytest.raises(WriteOwnershipLostError):
        await write(first, config, "stale", channel)
    assert await written(way, config) == []
    await write(second, config, "current", channel)
    with pytest.raises(WriteOwnershipLostError):
        await write(first, config, "stale", channel)
    await write(second, config, "current", channel)  # again, as after a lost answer
    assert await written(way, config) == ["current"]


async def test_deleted_thread_has_no_owner(way: Way) -> None:
    """A worker that was asleep does not bring it back."""
    owner = await claim(way, "t")
    await put(owner, "t")
    await way.call("delete_thread", "t")
    with pytest.raises(WriteOwnershipLostError):
        await put(owner, "t")
    assert await way.tuples(config_for("t")) == []


async def test_saver_without_a_claim_writes_as_ever(way: Way) -> None:
    await claim(way, "t")
    config = await put(way.asynchronous_saver, "t")
    await write(way.asynchronous_saver, config, "x")
    assert await written(way, config) == ["x"]


@pytest.mark.one_database
async def test_owner_writes_to_its_own_thread_only(way: Way) -> None:
    owner = await claim(way, "t")
    config = await put(way.asynchronous_saver, "other")
    with pytest.raises(InvalidInputError, match="owns the writes of thread 't'"):
        await put(owner, "other")
    with pytest.raises(InvalidInputError, match="owns the writes of thread 't'"):
        await write(owner, config, "x")
    with pytest.raises(InvalidInputError):
        await claim(way, "")


async def test_nothing_is_written_after_a_claim_has_returned(graph_url: str) -> None:
    """A claim waits for the transactions in which its predecessor writes."""
    async with Saver(graph_url) as saver, Saver(graph_url) as other:
        await saver.setup()
        await other.setup()
        refused = 0
        for _ in range(ROUNDS):
            name = thread()
            first = await saver.aclaim_write_ownership(name)
            config = await put(first, name)

            async def work(first: Saver = first, config: RunnableConfig = config) -> None:
                for number in range(20):
                    await put(first, config["configurable"]["thread_id"], config)
                    await first.aput_writes(config, [("a", number)], f"task {number}")

            working = asyncio.create_task(work())
            await asyncio.sleep(0.005)
            await other.aclaim_write_ownership(name)
            seen = [await ids(other.alist(config_for(name))), await other.aget_tuple(config)]
            (outcome,) = await asyncio.gather(working, return_exceptions=True)
            refused += isinstance(outcome, WriteOwnershipLostError)
            assert outcome is None or isinstance(outcome, WriteOwnershipLostError)
            after = [await ids(other.alist(config_for(name))), await other.aget_tuple(config)]
            assert after == seen
        assert refused


class State(TypedDict):
    """The state of the graph below."""

    said: Annotated[list[str], add]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_worker_that_wakes_up_does_not_change_the_thread(way: Way, durability: str) -> None:
    """Two workers run the same task of a graph; the first one is asleep in between."""
    asleep, awake = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(state: State) -> State:
        if not asleep.is_set():
            asleep.set()
            await awake.wait()
            return {"said": ["stale"]}
        return {"said": ["current"]}

    def slow_in_thread(state: State) -> State:
        return asyncio.run_coroutine_threadsafe(slow(state), loop).result()

    builder = StateGraph(State)
    builder.add_node("slow", slow_in_thread if way.synchronous else slow)
    builder.add_edge(START, "slow")
    builder.add_edge("slow", END)
    config = config_for("t")
    options = {"durability": durability}

    first = Way(await way.call("claim_write_ownership", "t"), way.synchronous).compile(builder)

    async def is_stored() -> bool:
        """Return True if the state before the task is; with "exit" none is stored yet."""
        return durability == "exit" or (await first.state(config)).next == ("slow",)

    running = asyncio.create_task(first.run({"said": ["hello"]}, config, **options))
    await asleep.wait()
    await until(is_stored)  # with "async" the task may begin before
    second = Way(await way.call("claim_write_ownership", "t"), way.synchronous).compile(builder)
    given = {"said": ["hello"]} if durability == "exit" else None
    assert (await second.run(given, config, **options))["said"] == ["hello", "current"]
    before = [id_of(found.config) for found in await way.tuples(config)]
    awake.set()
    with pytest.raises(WriteOwnershipLostError):
        await running
    assert [id_of(found.config) for found in await way.tuples(config)] == before
    assert (await second.state(config)).values["said"] == ["hello", "current"]


async def test_ownership_costs_a_statement_and_a_transaction(
    server_graph_url: str, count: StatementCount
) -> None:
    """Without a claim a put on PostgreSQL, and put_writes, are one statement as ever."""
    async with Saver(server_graph_url) as saver:
        await saver.setup()
        owner = await saver.aclaim_write_ownership("t")
        config = await put(owner, "t")
        plain = await count.of(lambda: put(saver, "t", config))
        owned = await count.of(lambda: put(owner, "t", config))
        assert (plain, owned) == (count.figure(3, postgresql=1), count.figure(4, postgresql=4))
        plain = await count.of(lambda: write(saver, config, "x"))
        owned = await count.of(lambda: write(owner, config, "x"))
        assert plain == 1
        assert owned == count.figure(3, postgresql=4)


@pytest.mark.parametrize("is_taken_over", [False, True])
@pytest.mark.parametrize("arrival", ["done", "not done"])
async def test_lost_commit_of_an_owner(
    server_graph_url: str,
    arrival: str,
    is_taken_over: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """If another claimed the thread meanwhile, it is unknown whether the last put is stored."""
    engine = engine_for(server_graph_url, isolation_level="AUTOCOMMIT")
    async with Saver(server_graph_url) as saver, Saver(server_graph_url) as another:
        await saver.setup()
        owner = await saver.aclaim_write_ownership("t")
        config = await put(owner, "t")
        await another.aclaim_write_ownership("unrelated")

        def take_over() -> None:
            if is_taken_over:
                await_only(another.aclaim_write_ownership("t"))

        async with engine.connect() as other:
            with lost_commits(engine_of(saver), other, arrives=arrival == "done", then=take_over):
                outcomes = await asyncio.gather(put(owner, "t", config), return_exceptions=True)
        outcome: Any = outcomes[0]
        assert isinstance(outcome, CommitOutcomeUnknownError) is is_taken_over
        assert is_taken_over or not isinstance(outcome, Exception)
        stored = 1 + (arrival == "done" or not is_taken_over)
        assert len(await ids(another.alist(config_for("t")))) == stored
    await engine.dispose()


async def test_owner_of_an_observed_saver_is_superseded_too(way: Way) -> None:
    """Observing replaces methods of the saver that claims."""
    events: list[Event] = []
    observe(way.saver, events.append)
    first, second = await claim(way, "t"), await claim(way, "t")
    with pytest.raises(WriteOwnershipLostError):
        await put(first, "t")
    await put(second, "t")
    puts = [each.error for each in events if isinstance(each, CallEnded) and "put" in each.method]
    assert [type(error) for error in puts] == [WriteOwnershipLostError, type(None)]
