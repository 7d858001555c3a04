"""Scoped appends: in the order of the calls, and once if a COMMIT is lost."""

import asyncio

import pytest

from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of
from threadlog import Checkpointer
from threadlog.messages import Message, UserMessage


def _said(*names: str) -> list[Message]:
    return [UserMessage(content=[], id=name) for name in names]


async def test_scoped_appends_are_stored_in_the_order_of_the_calls(database_url: str) -> None:
    async with Checkpointer(database_url) as checkpointer:
        scopes = [checkpointer.scoped("ann"), checkpointer.scoped("ann")]
        names = [str(number) for number in range(12)]
        seqs = await asyncio.gather(
            *(scopes[n % 2].append("t", _said(name)) for n, name in enumerate(names))
        )
        assert seqs == [[n] for n in range(1, 13)]
        assert [s.message.id for s in await checkpointer.read("t")] == names


@pytest.mark.parametrize("arrives", [True, False], ids=["done", "not done"])
async def test_a_scoped_append_is_stored_once(server_url: str, *, arrives: bool) -> None:
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with Checkpointer(server_url) as checkpointer, engine.connect() as other:
        scoped = checkpointer.scoped("ann")
        for names in (["a", "b"], ["c"]):  # to a new thread, and to one that exists
            with lost_commits(engines_of(checkpointer)[0], other, arrives=arrives) as killed:
                await scoped.append("t", _said(*names))
            assert len(killed) == 1
        assert [s.message.id for s in await scoped.read("t")] == ["a", "b", "c"]
        (summary,) = await checkpointer.list_threads()
        assert (summary.owner, summary.forked_at_seq) == ("ann", None)
    await engine.dispose()
