"""The statements for runs, questions and forks, counted by the server itself.

PostgreSQL receives a BEGIN for each transaction that writes, and locks a row before the data
that the lock protects is read.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.counting import StatementCount
from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Checkpointer


@pytest.fixture
async def opened(server_url: str) -> AsyncIterator[Checkpointer]:
    """Yield a checkpointer on a server with a thread."""
    async with Checkpointer(server_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        yield checkpointer


@pytest.fixture
def names() -> Iterator[str]:
    """Return an iterator of names that were not used before."""
    return (f"n{number}" for number in range(100))


async def test_claiming(opened: Checkpointer, count: StatementCount, names: Iterator[str]) -> None:
    assert await count.of(lambda: opened.claim_run("t", next(names))) == count.figure(
        3, postgresql=4
    )
    assert await count.of(lambda: opened.claim_run(next(names), "r")) == count.figure(
        4, postgresql=5
    )


async def test_completing(
    opened: Checkpointer, count: StatementCount, names: Iterator[str]
) -> None:
    counts = []
    for _ in range(3):
        run_id = next(names)
        await opened.claim_run("t", run_id)
        before = await count.questions()
        await opened.mark_run_complete("t", run_id)
        counts.append(await count.questions() - before - 1)
    assert min(counts) == count.figure(3, postgresql=5)
    assert await count.of(lambda: opened.mark_run_complete("t", "n0")) == count.figure(
        2, postgresql=4
    )


async def test_appending_to_a_run(opened: Checkpointer, count: StatementCount) -> None:
    """The look at completed runs is part of the locking statement."""
    await opened.append("t", [UserFactory()])  # brings updated_at to this second
    batch = [*UserFactory.build_batch(2, run_id="r"), UserFactory(run_id="s")]
    assert await count.of(lambda: opened.append("t", batch)) == count.figure(
        3, postgresql=4 + len(batch)
    )


async def test_questions(opened: Checkpointer, count: StatementCount) -> None:
    request = HitlRequestFactory(question_id="q")
    writing = count.figure(2, postgresql=3)
    assert await count.of(lambda: opened.save_pending_request("t", request, run_id="r")) == writing
    assert await count.of(lambda: opened.load_pending("t")) == 1
    assert await count.of(lambda: opened.load_pending_request("t")) == 1
    assert await count.of(lambda: opened.load_pending_run_id("t")) == 1
    clear = opened.clear_pending_request_if_matches
    assert await count.of(lambda: clear("t", question_id="q", run_id="r")) == writing
    assert await count.of(lambda: opened.save_pending_request("t", None)) == writing


async def test_answers(opened: Checkpointer, count: StatementCount) -> None:
    assert await count.of(lambda: opened.save_hitl_answer("t", "q", 1, run_id="r")) == count.figure(
        3, postgresql=4
    )
    assert await count.of(lambda: opened.load_hitl_answer("t", "q", run_id="r")) == 1
    assert await count.of(
        lambda: opened.clear_hitl_answers("t", ["q", "p"], run_id="r")
    ) == count.figure(2, postgresql=3)
    assert await count.of(lambda: opened.clear_hitl_answers("t", [], run_id="r")) == 0


async def test_forks_and_lists(
    opened: Checkpointer, count: StatementCount, names: Iterator[str]
) -> None:
    """A snapshot is one statement, and a fork five whatever it copies."""
    await opened.claim_run("t", "r")
    await opened.append("t", UserFactory.build_batch(50, run_id="r"))
    await opened.mark_run_complete("t", "r")
    assert await count.of(lambda: opened.snapshot("t", after_run_id="r")) == 1
    assert await count.of(lambda: opened.fork("t", next(names), after_run_id="r")) == count.figure(
        5, postgresql=7
    )
    assert await count.of(lambda: opened.runs("t")) == 1
