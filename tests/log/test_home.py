"""Calls from another event loop, thread or process than the one that opened a checkpointer."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph.saver.making import config_for, put_chain
from tests.support.factories import UserFactory
from tests.support.scripts.forking import CHILDREN, EACH
from threadlog import Checkpointer
from threadlog.errors import WrongEventLoopError
from threadlog.langgraph import Saver

ROOT = Path(__file__).parents[2]


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
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.scripts.forking", database_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    children = CHILDREN * EACH
    assert json.loads(ran.stdout) == [children, children + 3, "ForkedProcessError"]
