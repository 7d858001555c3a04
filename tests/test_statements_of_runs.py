"""What the server is sent for runs, questions and forks: counted by the server itself."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import event

from tests.counting import StatementCount
from tests.databases import engines_of
from tests.factories import HitlRequestFactory, UserFactory
from tests.plans import plan_of
from threadlog import Checkpointer


@pytest.fixture
async def opened(innodb_url: str) -> AsyncIterator[Checkpointer]:
    """Give a checkpointer on MySQL with a thread."""
    async with Checkpointer(innodb_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
        yield checkpointer


@pytest.fixture
def names() -> Iterator[str]:
    """Give names that were not used before."""
    return (f"n{number}" for number in range(100))


async def test_claiming(opened: Checkpointer, count: StatementCount, names: Iterator[str]) -> None:
    """Pins lock, insert, commit; and one more where the thread is new."""
    assert await count.of(lambda: opened.claim_run("t", next(names))) == 3
    assert await count.of(lambda: opened.claim_run(next(names), "r")) == 4


async def test_completing(
    opened: Checkpointer, count: StatementCount, names: Iterator[str]
) -> None:
    """Pins lock-and-read, update, commit; and one less where it is completed already."""
    counts = []
    for _ in range(3):
        run_id = next(names)
        await opened.claim_run("t", run_id)
        before = await count.questions()
        await opened.mark_run_complete("t", run_id)
        counts.append(await count.questions() - before - 1)
    assert min(counts) == 3
    assert await count.of(lambda: opened.mark_run_complete("t", "n0")) == 2


async def test_appending_to_a_run(opened: Checkpointer, count: StatementCount) -> None:
    """Pins that the look at completed runs is part of the locking statement."""
    await opened.append("t", [UserFactory()])  # brings updated_at to this second
    batch = [*UserFactory.build_batch(2, run_id="r"), UserFactory(run_id="s")]
    assert await count.of(lambda: opened.append("t", batch)) == 3


async def test_questions(opened: Checkpointer, count: StatementCount) -> None:
    """Pins one statement to read request and run together, and two to write or clear."""
    request = HitlRequestFactory(question_id="q")
    assert await count.of(lambda: opened.save_pending_request("t", request, run_id="r")) == 2
    assert await count.of(lambda: opened.load_pending("t")) == 1
    assert await count.of(lambda: opened.load_pending_request("t")) == 1
    assert await count.of(lambda: opened.load_pending_run_id("t")) == 1
    clear = opened.clear_pending_request_if_matches
    assert await count.of(lambda: clear("t", question_id="q", run_id="r")) == 2
    assert await count.of(lambda: opened.save_pending_request("t", None)) == 2


async def test_answers(opened: Checkpointer, count: StatementCount) -> None:
    """Pins lock, write, commit to save; one to read, two to clear."""
    assert await count.of(lambda: opened.save_hitl_answer("t", "q", 1, run_id="r")) == 3
    assert await count.of(lambda: opened.load_hitl_answer("t", "q", run_id="r")) == 1
    assert await count.of(lambda: opened.clear_hitl_answers("t", ["q", "p"], run_id="r")) == 2
    assert await count.of(lambda: opened.clear_hitl_answers("t", [], run_id="r")) == 0


async def test_forks_and_lists(
    opened: Checkpointer, count: StatementCount, names: Iterator[str]
) -> None:
    """Pins that a snapshot is one statement, and a fork five whatever it copies."""
    await opened.claim_run("t", "r")
    await opened.append("t", UserFactory.build_batch(50, run_id="r"))
    await opened.mark_run_complete("t", "r")
    assert await count.of(lambda: opened.snapshot("t", after_run_id="r")) == 1
    assert await count.of(lambda: opened.fork("t", next(names), after_run_id="r")) == 5
    assert await count.of(lambda: opened.runs("t")) == 1


async def test_one_partition_and_its_key_are_read(innodb_url: str) -> None:
    """Pins partition pruning and the use of keys in each statement on runs and messages."""
    async with Checkpointer(innodb_url) as checkpointer:
        for number in range(120):
            await checkpointer.claim_run("t", f"r{number}")
            await checkpointer.append("t", UserFactory.build_batch(2, run_id=f"r{number}"))
        await checkpointer.mark_run_complete("t", "r7")
        sent: list[str] = []
        for engine in engines_of(checkpointer):
            event.listen(
                engine.sync_engine,
                "before_cursor_execute",
                lambda c, cursor, statement, parameters, *rest: sent.append(
                    statement % tuple(map(repr, parameters))
                ),
            )
        await checkpointer.claim_run("t", "new")
        await checkpointer.append("t", [UserFactory(run_id="new", content=[])])
        await checkpointer.mark_run_complete("t", "new")
        await checkpointer.snapshot("t", after_run_id="new")
        await checkpointer.fork("t", "f", after_run_id="new")
        await checkpointer.runs("t")
        await checkpointer.load_hitl_answer("t", "q", run_id="new")
    steps = [
        step
        for statement in sent
        if "VALUES" not in statement
        for step in await plan_of(innodb_url, statement)
        if step["select_type"] != "INSERT" and not str(step["table"]).startswith(("None", "<"))
    ]
    assert len(steps) > 20
    assert [step for step in steps if "," in (step["partitions"] or "")] == []
    assert [step for step in steps if step["type"] == "ALL"] == []
