"""Calls from another event loop, thread or process than the one that opened a checkpointer."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.graph.saver.making import config_for, put_chain
from tests.support.factories import UserFactory
from tests.support.patience import eventually
from tests.support.processes import run_python
from tests.support.scripts.forking import CHILDREN, EACH
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import NotOpenError, WrongEventLoopError
from threadlog.langgraph import Saver


async def test_call_from_another_loop_in_another_thread_runs_at_home(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await asyncio.to_thread(
            lambda: asyncio.run(checkpointer.append("t", [UserFactory(run_id=None)]))
        )
        elsewhere = await asyncio.to_thread(lambda: asyncio.run(checkpointer.read("t")))
        assert elsewhere == await checkpointer.read("t")
        assert len(elsewhere) == 1


def test_call_from_another_loop_whose_home_does_not_run_is_refused(database_url: str) -> None:
    """Afterwards the checkpointer is right at home."""
    checkpointer = Checkpointer(database_url)
    with asyncio.Runner() as home:
        home.run(checkpointer.__aenter__())
        home.run(checkpointer.append("t", UserFactory.build_batch(2)))
        with asyncio.Runner() as other:
            for call in (checkpointer.load("t"), checkpointer.append("t", [UserFactory()])):
                with pytest.raises(WrongEventLoopError, match="another event loop"):
                    other.run(call)
        assert len(home.run(checkpointer.read("t"))) == 2
        home.run(checkpointer.__aexit__(None, None, None))


def test_saver_in_another_loop_whose_home_does_not_run_is_refused(graph_url: str) -> None:
    saver = Saver(graph_url)
    with asyncio.Runner() as home:
        home.run(saver.__aenter__())
        home.run(saver.setup())
        (config,) = home.run(put_chain(saver, "t", 1))
        with asyncio.Runner() as other, pytest.raises(WrongEventLoopError):
            other.run(saver.aget_tuple(config_for("t")))
        found = home.run(saver.aget_tuple(config_for("t")))
        assert found is not None
        assert found.config == config
        home.run(saver.__aexit__(None, None, None))


def test_forked_children_use_connections_of_their_own(database_url: str) -> None:
    """An asynchronous checkpointer of the parent is refused in a child."""
    ran = run_python("-m", "tests.support.scripts.forking", database_url)
    assert ran.returncode == 0, ran.stderr
    children = CHILDREN * EACH
    assert json.loads(ran.stdout) == [children, children + 3, "ForkedProcessError"]


async def test_threads_share_a_synchronous_checkpointer_that_is_closed_meanwhile(
    database_url: str,
) -> None:
    """Calls that run finish; later ones are refused; nothing acknowledged is lost."""
    checkpointer = SyncCheckpointer(database_url)
    checkpointer.__enter__()
    begun, acknowledged = threading.Barrier(9), list[str]()

    def write(number: int) -> type[Exception] | None:
        begun.wait()
        try:
            for place in range(1_000):
                message = UserFactory(run_id=None)
                checkpointer.append(f"t{number}", [message])
                acknowledged.append(message.id or "")
                assert place < 999, "the checkpointer was not closed"
        except NotOpenError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(8) as threads:
        writers = [threads.submit(write, number) for number in range(8)]
        begun.wait()
        assert eventually(lambda: len(acknowledged) > 20)
        checkpointer.__exit__(None, None, None)
        outcomes = {await asyncio.wrap_future(writer) for writer in writers}
    assert outcomes == {NotOpenError}
    with SyncCheckpointer(database_url) as again:
        stored = {s.message.id for number in range(8) for s in again.stream(f"t{number}")}
    assert stored == set(acknowledged)


def test_process_that_never_closes_ends_and_keeps_what_was_acknowledged(database_url: str) -> None:
    for kind in ("asyncio", "plain", "collected"):
        ran = run_python("-c", UNCLOSED, database_url, kind)
        assert ran.returncode == 0, ran.stderr
    with SyncCheckpointer(database_url) as checkpointer:
        stored = [checkpointer.read(kind) for kind in ("asyncio", "plain", "collected")]
    assert [len(messages) for messages in stored] == [1, 1, 1]


UNCLOSED = """
import asyncio, gc, sys
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.messages import UserMessage

url, kind = sys.argv[1:]
messages = [UserMessage(content=[])]

async def write():
    checkpointer = Checkpointer(url)
    await checkpointer.__aenter__()
    await checkpointer.append(kind, messages)

if kind == "asyncio":
    asyncio.run(write())
else:
    checkpointer = SyncCheckpointer(url)
    checkpointer.__enter__()
    checkpointer.append(kind, messages)
    if kind == "collected":
        del checkpointer
        gc.collect()
"""
