"""Our backend and the framework's own on one database: what either writes the other reads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from tests.frameworks.agents import (
    THREAD,
    agent,
    asking_agent,
    calls,
    log,
    says,
    states,
    until_it_asks,
)
from tests.frameworks.backends import BACKENDS, create_their_schema
from tests.frameworks.framework import Framework
from tests.frameworks.messages import conversation, request
from tests.support.databases import SharedDatabase, execute, on_connection
from threadlog import migrating
from threadlog.errors import InvalidInputError
from threadlog.models import MESSAGES

pytestmark = [
    # The framework's statements for MySQL use both; its driver passes the server's warnings on.
    pytest.mark.filterwarnings("ignore:'VALUES function' is deprecated:Warning"),
    pytest.mark.filterwarnings("ignore:'BINARY expr' is deprecated:Warning"),
]

_CLEAR = "clear_pending_request_if_matches"

JSON = {
    "text": "ä\U0001f30d\"\\'%s\n\x01",
    "int": 2**53,
    "float": 0.1,
    "no": None,
    "list": [[], {}, True],
}


class Choice(BaseModel):
    """An answer as a model."""

    decision: str
    more: list["Choice"] = []


ANSWERS: list[tuple[Any, Any]] = [
    ("yes", "yes"),
    ("", ""),
    (True, True),
    (0, 0),
    (-1.5, -1.5),
    (None, None),
    ([], []),
    (JSON, JSON),
    (
        Choice(decision="a", more=[Choice(decision="b")]),
        {"decision": "a", "more": [{"decision": "b", "more": []}]},
    ),
    ({"all": [Choice(decision="é")]}, {"all": [{"decision": "é", "more": []}]}),
]


@dataclass(frozen=True)
class Pair:
    """Two backends on one database: one of them is ours, the other the framework's."""

    first: Any
    second: Any
    ours: Any
    theirs: Any
    url: str

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Query the database itself."""
        return await on_connection(
            self.url, lambda c: [tuple(row) for row in c.execute(text(statement))]
        )


@pytest.fixture(scope="session")
def their_database(
    request: pytest.FixtureRequest, framework: Framework, backend: str
) -> Iterator[SharedDatabase]:
    """Create a database with the framework's tables, and drop it afterwards."""
    server_url = request.getfixturevalue(f"{backend}_server_url")
    create = partial(create_their_schema, framework, backend)
    with closing(SharedDatabase(server_url, MESSAGES, create=create)) as shared:
        yield shared


@pytest.fixture(params=["our schema", "their schema"])
def url(request: pytest.FixtureRequest, their_database: SharedDatabase) -> str:
    """Return the URL of an empty database with threadlog's tables, or with the framework's."""
    if request.param == "our schema":
        return str(request.getfixturevalue("backend_url"))
    return their_database.empty()


@pytest.fixture(params=["ours first", "theirs first"])
async def pair(
    request: pytest.FixtureRequest, framework: Framework, backend: str, url: str
) -> AsyncIterator[Pair]:
    """Yield both backends, open, in one direction after the other."""
    name = BACKENDS[backend].checkpointer
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(getattr(framework.client, name)(url))
        own = getattr(framework.module("checkpointer"), name)(url)
        theirs = await stack.enter_async_context(own)
        if request.param == "ours first":
            yield Pair(ours, theirs, ours, theirs, url)
        else:
            yield Pair(theirs, ours, ours, theirs, url)


async def test_messages(framework: Framework, pair: Pair) -> None:
    """Both store the same bytes and load the same messages, in one order."""
    messages = [*conversation(framework), *conversation(framework, "r")]
    assert await pair.second.load("t") is None
    await pair.first.append("t", messages[:4])
    assert await pair.second.load("t") == await pair.first.load("t")
    await pair.second.append("t", messages[4:])
    await pair.second.append("t", messages)
    await pair.first.append("t", messages)
    for checkpointer in (pair.first, pair.second):
        assert (await checkpointer.load("t")).messages == messages * 3
    columns = "role, metadata, payload, run_id"
    rows = await pair.rows(f"SELECT {columns}, seq FROM cubepi_messages ORDER BY seq")
    assert [row[-1] for row in rows] == list(range(1, 19))
    assert [row[:-1] for row in rows[6:12]] == [row[:-1] for row in rows[12:]]


async def test_extra(pair: Pair) -> None:
    """Each merges into what the other saved."""
    await pair.first.save_extra("t", {"a": JSON, "b": {"x": 1}})
    assert (await pair.second.load("t")).extra == {"a": JSON, "b": {"x": 1}}
    await pair.second.save_extra("t", {"b": {"y": 2}, "c": None})
    merged = {"a": JSON, "b": {"y": 2}, "c": None}
    assert (await pair.first.load("t")).extra == merged
    assert await pair.second.load("t") == await pair.first.load("t")


async def test_nul(framework: Framework, backend: str, pair: Pair) -> None:
    [message, *_] = conversation(framework)
    message.content = [framework.module("providers.base").TextContent(text="a\0b")]
    await pair.first.append("t", [message])
    assert (await pair.second.load("t")).messages == [message]

    message.metadata = {"a": "\0"}
    with pytest.raises(InvalidInputError):
        await pair.ours.append("t", [message])
    with pytest.raises(InvalidInputError):
        await pair.ours.save_extra("t", {"a": "\0"})
    with BACKENDS[backend].about_nul():
        await pair.theirs.save_extra("t", {"a": "\0"})
        await pair.ours.save_extra("t", {"b": 1})
        assert (await pair.ours.load("t")).extra == {"a": "\0", "b": 1}
        await pair.theirs.append("t", [message])
    assert await pair.ours.load("t") == await pair.theirs.load("t")


async def test_runs(framework: Framework, pair: Pair) -> None:
    exceptions = framework.module("checkpointer.exceptions")
    first, second = pair.first, pair.second
    with pytest.raises(exceptions.RunNotClaimedError):
        await second.mark_run_complete("t", "r1")
    await first.claim_run("t", "r1")
    await first.claim_run("t", "r2")
    with pytest.raises(exceptions.RunAlreadyClaimedError):
        await second.claim_run("t", "r1")
    await second.append("t", conversation(framework, "r1"))
    await second.mark_run_complete("t", "r2")
    await first.mark_run_complete("t", "r1")
    await second.mark_run_complete("t", "r1")
    for checkpointer in (first, second):
        with pytest.raises(exceptions.RunAlreadyCompletedError):
            await checkpointer.claim_run("t", "r1")
        with pytest.raises(exceptions.RunAlreadyCompletedError):
            await checkpointer.append("t", conversation(framework, "r1"))
    places = {run.run_id: run.completion_seq for run in await pair.ours.runs("t")}
    assert places == {"r1": 2, "r2": 1}
    assert len((await first.load("t")).messages) == 3


async def test_pending_requests(framework: Framework, pair: Pair) -> None:
    """A question of each kind is read and removed by the other."""
    first, second = pair.first, pair.second
    for kind in ("confirm", "approve", "ask"):
        asked = request(framework, kind)
        await first.save_pending_request("t", asked, run_id="r1")
        assert await second.load_pending("t") == (asked, "r1")
        assert await second.load_pending_request("t") == asked
        assert await second.load_pending_run_id("t") == "r1"
    assert await pair.rows("SELECT run_id FROM cubepi_threads") == [("r1",)]
    await second.save_pending_request("t", None)
    assert await first.load_pending("t") is None
    assert await first.load_pending_run_id("t") is None

    await first.save_pending_request("t", asked)
    assert await second.load_pending("t") == (asked, None)
    await second.save_pending_request("t", asked, run_id="r2")
    assert await first.load_pending("t") == (asked, "r2")


async def test_clearing_a_question_that_matches(framework: Framework, pair: Pair) -> None:
    asked = request(framework)
    has_verb = hasattr(pair.theirs, _CLEAR)
    assert has_verb == (framework.name == "cubeloop")
    clears = [getattr(c, _CLEAR) for c in (pair.second, pair.first) if hasattr(c, _CLEAR)]
    for clear in clears:
        await pair.first.save_pending_request("t", asked, run_id="r1")
        for question_id, run_id in [
            (asked.question_id, "R1"),
            (asked.question_id.upper(), "r1"),
            ("other", "r1"),
        ]:
            assert not await clear("t", question_id=question_id, run_id=run_id)
        assert await pair.second.load_pending("t") == (asked, "r1")
        assert await clear("t", question_id=asked.question_id, run_id="r1")
        assert not await clear("t", question_id=asked.question_id, run_id="r1")
        assert await pair.second.load_pending("t") is None


async def test_answers(pair: Pair) -> None:
    """An answer of every kind of JSON is kept, replaced and removed by either."""
    for run_id in (None, "r1"):
        await check_answers(pair, run_id)


async def check_answers(pair: Pair, run_id: str | None) -> None:
    """Assert it for the answers of one run, or of none."""
    first, second = pair.first, pair.second
    for n, (answer, expected) in enumerate(ANSWERS):
        await first.save_hitl_answer("t", f"q{n}", "earlier", run_id=run_id)
        await second.save_hitl_answer("t", f"q{n}", "earlier still", run_id=run_id)
        await first.save_hitl_answer("t", f"q{n}", answer, run_id=run_id)
        loaded = await second.load_hitl_answer("t", f"q{n}", run_id=run_id)
        assert loaded == expected
        assert type(loaded) is type(expected)
    count = "SELECT COUNT(*) FROM cubepi_hitl_answers"
    assert await pair.rows(count) == [(len(ANSWERS),)]
    await second.clear_hitl_answers("t", [], run_id=run_id)
    await second.clear_hitl_answers("t", None, run_id="another")
    assert await pair.rows(count) == [(len(ANSWERS),)]
    await second.clear_hitl_answers("t", ["q1"], run_id=run_id)
    assert await first.load_hitl_answer("t", "q1", run_id=run_id) is None
    assert await first.load_hitl_answer("t", "q0", run_id=run_id) == "yes"
    await second.clear_hitl_answers("t", run_id=run_id)
    assert await pair.rows(count) == [(0,)]


async def test_forks(framework: Framework, pair: Pair) -> None:
    """A fork by either is the same rows, loads in the other, and can be gone on with."""
    first, second = pair.first, pair.second
    for run_id in ("r1", "open", "r2", "r3"):
        await first.claim_run("t", run_id)
    for of_run in (None, "r1", "open", "r2", "r3", "r1"):
        await second.append("t", conversation(framework, of_run))
    for run_id in ("r1", "r2", "r3"):
        await first.mark_run_complete("t", run_id)
    await first.save_extra("t", {"a": JSON})
    await first.save_pending_request("t", request(framework), run_id="open")
    await first.save_hitl_answer("t", "q", 1, run_id="open")

    await first.fork("t", "by first", after_run_id="r2", metadata={"why": JSON})
    await second.fork("t", "by second", after_run_id="r2", metadata={"why": JSON})
    assert await second.load("by first") == await second.load("by second")
    assert await second.load("by first") == await first.load("by first")
    assert (await second.load("by first")).messages == await second.snapshot("t", after_run_id="r2")
    assert await first.snapshot("t", after_run_id="r2") == await second.snapshot(
        "t", after_run_id="r2"
    )
    for columns in (
        "seq, role, metadata, payload, run_id FROM cubepi_messages",
        "run_id, claimed_at, completed_at, completion_seq FROM cubepi_runs",
        "parent_thread_id, extra, pending_request, run_id FROM cubepi_threads",
        "question_id, run_id FROM cubepi_hitl_answers",
    ):
        rows = [
            await pair.rows(f"SELECT {columns} WHERE thread_id = 'by {who}' ORDER BY 1")
            for who in ("first", "second")
        ]
        assert rows[0] == rows[1]
    # By design: ours says where the copy ends, theirs how many runs were completed by then.
    ends = await pair.rows("SELECT thread_id, forked_at_seq FROM cubepi_threads ORDER BY 1")
    by_ours, by_theirs = (1, 2) if pair.ours is first else (2, 1)
    assert (ends[by_ours - 1][1], ends[by_theirs - 1][1]) == (18, 2)

    exceptions = framework.module("checkpointer.exceptions")
    with pytest.raises(exceptions.ThreadAlreadyExistsError):
        await second.fork("t", "by first", after_run_id="r2")
    with pytest.raises(exceptions.RunNotCompletedError):
        await second.fork("by first", "deeper", after_run_id="r3")
    await second.append("by first", conversation(framework, "r9"))
    await second.fork("by first", "deeper", after_run_id="r1")
    assert (await first.load("deeper")).parent_thread_id == "by first"


async def test_both_append_at_once(framework: Framework, pair: Pair) -> None:
    threads = [f"t{n}" for n in range(4)]
    batches = [conversation(framework) for _ in range(17)]
    for thread in threads:
        await pair.first.append(thread, batches[0])
    writers = [pair.first, pair.second] * 8
    await asyncio.gather(
        *(
            writer.append(thread, batch)
            for writer, batch in zip(writers, batches[1:], strict=True)
            for thread in threads
        )
    )
    for thread in threads:
        seqs = f"SELECT seq FROM cubepi_messages WHERE thread_id = '{thread}' ORDER BY seq"
        assert await pair.rows(seqs) == [(seq,) for seq in range(1, 3 * 17 + 1)]
        messages = (await pair.first.load(thread)).messages
        stored = [messages[start : start + 3] for start in range(0, len(messages), 3)]
        assert stored[0] == batches[0]
        assert all(batch in stored for batch in batches)


async def test_both_run_at_once(framework: Framework, pair: Pair) -> None:
    writers = [pair.first, pair.second] * 8
    await pair.first.append("t", conversation(framework))
    claims = (writer.claim_run("t", "r") for writer in writers)
    outcomes = await asyncio.gather(*claims, return_exceptions=True)
    assert outcomes.count(None) == 1
    lost = framework.module("checkpointer.exceptions").RunAlreadyClaimedError
    assert sum(isinstance(outcome, lost) for outcome in outcomes) == 15

    for n in range(16):
        await pair.first.claim_run("t", f"r{n}")
    await asyncio.gather(*(w.mark_run_complete("t", f"r{n}") for n, w in enumerate(writers)))
    places = [run.completion_seq for run in await pair.ours.runs("t") if run.completion_seq]
    assert sorted(places) == list(range(1, 17))


async def test_both_meet_at_a_new_thread(framework: Framework, pair: Pair) -> None:
    threads = [f"new {n}" for n in range(8)]
    batch = conversation(framework)
    await asyncio.gather(
        *(w.append(thread, batch) for thread in threads for w in (pair.first, pair.second))
    )
    for thread in threads:
        assert (await pair.second.load(thread)).messages == batch * 2


async def test_an_agent_moves_from_one_backend_to_the_other(
    framework: Framework, pair: Pair
) -> None:
    turn = calls(framework, refund={"euros": 20})
    asking = asking_agent(framework, pair.first, [turn], "approve", "asks")
    await until_it_asks(asking, asking.prompt("I want a refund!", run_id="asks"))
    done = [says(framework, "Done.")]
    answering = asking_agent(framework, pair.second, done, "approve", "asks")
    yes = framework.module("hitl").ApproveAnswer(decision="approve")
    await answering.respond(answer=yes)
    back = agent(framework, pair.first, [says(framework, "Bye.")])
    await back.prompt("Thanks!", run_id="r2")
    assert await log(pair.second) == [
        "user: I want a refund!",
        "assistant: refund(euros=20)",
        "tool_result: 20 euros are on their way.",
        "assistant: Done.",
        "user: Thanks!",
        "assistant: Bye.",
    ]
    assert await pair.first.load_pending(THREAD) is None
    assert await states(pair.ours) == {"asks": "completed", "r2": "completed"}


async def test_ids_are_bytes_on_either_schema(framework: Framework, pair: Pair) -> None:
    """Ours tells ids apart that a collation of the framework's tables does not."""
    ours, exceptions = pair.ours, framework.module("checkpointer.exceptions")
    await pair.first.claim_run("t", "R1")
    await pair.first.save_hitl_answer("t", "Q", "yes", run_id="R1")
    await pair.first.save_pending_request("t", request(framework), run_id="R1")
    with pytest.raises(exceptions.RunNotClaimedError):
        await ours.mark_run_complete("t", "r1")
    assert await ours.load_hitl_answer("t", "q", run_id="R1") is None
    assert await ours.load_hitl_answer("t", "Q", run_id="r1") is None
    await ours.clear_hitl_answers("t", run_id="r1")
    await ours.clear_hitl_answers("t", ["q"], run_id="R1")
    assert await ours.load_hitl_answer("t", "Q", run_id="R1") == "yes"
    await ours.mark_run_complete("t", "R1")
    await ours.append("t", conversation(framework, "r1"))
    assert await states(ours, "t") == {"R1": "completed"}
    assert await ours.snapshot("t", after_run_id="R1") == []


async def test_a_thread_with_an_owner_is_the_frameworks_too(
    framework: Framework, backend: str, url: str
) -> None:
    """The framework reads and continues it; the owner is deleted with the thread's row."""
    await migrating.upgrade(url, part="control")
    name = BACKENDS[backend].checkpointer
    messages = conversation(framework)
    async with (
        getattr(framework.client, name)(url) as ours,
        getattr(framework.module("checkpointer"), name)(url) as theirs,
    ):
        anns = ours.scoped("ann")
        await anns.append("t", messages)
        assert (await theirs.load("t")).messages == messages
        await theirs.append("t", messages)
        await theirs.append("theirs", messages)
        assert (await anns.load("t")).messages == messages * 2
        assert await anns.load("theirs") is None
        await theirs.save_pending_request("t", request(framework))
        assert [t.thread_id for t in await anns.list_threads(waiting=True)] == ["t"]
    tables = ("hitl_answers", "runs", "messages", "threads")
    deletions = (f"DELETE FROM cubepi_{table} WHERE thread_id = 't'" for table in tables)
    await execute(url, *deletions)
    owners = text("SELECT COUNT(*) FROM threadlog_owners")
    assert await on_connection(url, lambda connection: connection.scalar(owners)) == 0
