"""The statements of scoped calls, counted by the server itself."""

import itertools
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.counting import StatementCount
from tests.support.factories import UserFactory
from threadlog import Checkpointer


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on a server with a thread of ann that was just written to."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3), owner="ann")
        yield checkpointer


async def test_reads_in_a_scope_are_one_statement(
    opened: Checkpointer, count: StatementCount
) -> None:
    for log in (opened, opened.scoped("ann"), opened.scoped("bob")):
        assert await count.of(partial(log.load, "t")) == 1
        assert await count.of(partial(log.read, "t", limit=2)) == 1
        assert await count.of(partial(log.runs, "t")) == 1


async def test_an_append_without_a_scope_sends_what_it_sends_without_owners(
    opened: Checkpointer, count: StatementCount
) -> None:
    await opened.append("t", [UserFactory()])
    figure = count.figure(2, mariadb=3, postgresql=3)
    assert await count.of(lambda: opened.append("t", [UserFactory()])) == figure


async def test_a_write_in_a_scope_reads_the_owner_first(
    opened: Checkpointer, count: StatementCount
) -> None:
    values = itertools.count()
    anns = opened.scoped("ann")
    usual = await count.of(lambda: opened.save_extra("t", {"a": next(values)}))
    more = count.figure(1, postgresql=2)
    assert await count.of(lambda: anns.save_extra("t", {"a": next(values)})) == usual + more
    usual = await count.of(lambda: opened.append("t", UserFactory.build_batch(40)))
    assert await count.of(lambda: anns.append("t", UserFactory.build_batch(40))) == usual + more


async def test_a_foreign_thread_costs_a_write_the_look_alone(
    opened: Checkpointer, count: StatementCount
) -> None:
    bobs = opened.scoped("bob")
    figure = count.figure(2, postgresql=4)  # with the ROLLBACK, on PostgreSQL also a BEGIN
    assert await count.of(lambda: bobs.delete_thread("t")) == figure
