"""Real agents on our checkpointer: every one is the framework's own."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.frameworks.agents import (
    INTERRUPTED,
    QUESTION,
    THREAD,
    agent,
    asking_agent,
    calls,
    log,
    refund_tool,
    said,
    says,
    states,
    track_tool,
    until_it_asks,
)
from tests.frameworks.backends import BACKENDS
from tests.frameworks.framework import Framework
from tests.frameworks.processes import kill_worker, run_worker

TURN: dict[str, dict[str, Any]] = {
    "ask": {"ask_user": QUESTION},
    "approve": {"refund": {"euros": 20}},
}
CALL = {
    "ask": f"assistant: ask_user(questions={QUESTION['questions']!r})",
    "approve": "assistant: refund(euros=20)",
}
RESULT = {
    "ask": 'tool_result: User answers:\n{\n  "refund": "yes"\n}',
    "approve": "tool_result: 20 euros are on their way.",
}
DIED = {
    "model": ["user: Where is my parcel?"],
    "tool": [
        "user: Where is my parcel?",
        "assistant: track(order=17) search(place='depot')",
        "tool_result: Order 17 is in Köln.",
    ],
}


async def pause(framework: Framework, url: str, turn: Any, way: str) -> None:
    """Run an agent until it asks on the thread, in the run ``asks``, and close it."""
    async with framework.client.Checkpointer(url) as checkpointer:
        asking = asking_agent(framework, checkpointer, [turn], way, "asks")
        await until_it_asks(asking, asking.prompt("I want a refund!", run_id="asks"))


async def test_a_prompt_without_tools(framework: Framework, checkpointer: Any) -> None:
    """The agent's messages equal the stored ones, and the run is completed."""
    first = agent(framework, checkpointer, [says(framework, "Hello. 🌍")])
    run_id = await first.prompt("Hi!")
    data = await checkpointer.load(THREAD)
    assert said(data.messages) == ["user: Hi!", "assistant: Hello. 🌍"]
    assert data.messages == first.state.messages
    assert {m.run_id for m in data.messages} == {run_id}
    assert await states(checkpointer) == {run_id: "completed"}
    assert await checkpointer.load_pending(THREAD) is None


async def test_a_prompt_with_two_tool_calls(framework: Framework, checkpointer: Any) -> None:
    turns = [
        calls(framework, track={"order": 17}, refund={"euros": 20}),
        says(framework, "It is in Köln, and you get 20 euros."),
    ]
    tools = [track_tool(framework), refund_tool(framework)]
    with_tools = agent(framework, checkpointer, turns, tools=tools)
    await with_tools.prompt("Where is my parcel?", run_id="r")
    data = await checkpointer.load(THREAD)
    assert said(data.messages) == [
        "user: Where is my parcel?",
        "assistant: track(order=17) refund(euros=20)",
        "tool_result: Order 17 is in Köln.",
        "tool_result: 20 euros are on their way.",
        "assistant: It is in Köln, and you get 20 euros.",
    ]
    assert data.messages == with_tools.state.messages
    assert [m.tool_call_id for m in data.messages[2:4]] == ["call-track", "call-refund"]
    assert await states(checkpointer) == {"r": "completed"}


async def test_a_fresh_agent_continues(framework: Framework, database_url: str) -> None:
    """A new agent's model gets all that was said, and its hooks what was kept."""
    heard: list[list[str]] = []
    kept: list[dict[str, Any]] = []

    def hearing_model(messages: list[Any], *rest: object) -> Any:
        heard.append(said(messages))
        return says(framework, f"Reply {len(heard)}.")

    async def keep(context: Any, *, signal: object = None) -> None:
        kept.append(dict(context.extra))
        context.extra[f"turn {len(heard)}"] = {"customer": "u1"}

    for n in (1, 2, 3):
        async with framework.client.Checkpointer(database_url) as checkpointer:
            fresh = agent(framework, checkpointer, [hearing_model], on_run_end=keep)
            await fresh.prompt(f"Question {n}", run_id=f"r{n}")
            data = await checkpointer.load(THREAD)
            completed = await states(checkpointer)
    everything = [
        "user: Question 1",
        "assistant: Reply 1.",
        "user: Question 2",
        "assistant: Reply 2.",
        "user: Question 3",
        "assistant: Reply 3.",
    ]
    assert said(data.messages) == everything
    assert heard == [everything[:1], everything[:3], everything[:5]]
    assert [sorted(extra) for extra in kept] == [[], ["turn 1"], ["turn 1", "turn 2"]]
    assert data.extra == {f"turn {n}": {"customer": "u1"} for n in (1, 2, 3)}
    assert completed == {"r1": "completed", "r2": "completed", "r3": "completed"}


async def test_a_fork_goes_its_own_way(framework: Framework, checkpointer: Any) -> None:
    source = agent(framework, checkpointer, [says(framework, f"Reply {n}.") for n in (1, 2)])
    await source.prompt("Question 1", run_id="r1")
    await source.prompt("Question 2", run_id="r2")
    await source.fork(THREAD, "fork", after_run_id="r1", metadata={"why": "another try"})
    fork = await checkpointer.load("fork")
    assert fork.messages == source.state.messages[:2]
    assert fork.parent_thread_id == THREAD
    assert fork.extra["fork"] == {"why": "another try"}
    assert await states(checkpointer, "fork") == {"r1": "completed"}

    forked = agent(framework, checkpointer, [says(framework, "Another.")], thread_id="fork")
    await forked.prompt("Question 2, differently", run_id="r2")
    assert await log(checkpointer, "fork") == [
        "user: Question 1",
        "assistant: Reply 1.",
        "user: Question 2, differently",
        "assistant: Another.",
    ]
    assert (await checkpointer.load(THREAD)).messages == source.state.messages


async def test_fork_once_leaves_no_trace(framework: Framework, checkpointer: Any) -> None:
    """A probe hears the thread up to its run, and nothing of it is stored."""
    heard: list[list[str]] = []

    def hearing_model(messages: list[Any], *rest: object) -> Any:
        heard.append(said(messages))
        return says(framework, "A guess.")

    turns = [says(framework, "Reply 1."), says(framework, "Reply 2."), hearing_model]
    asked = agent(framework, checkpointer, turns)
    await asked.prompt("Question 1", run_id="r1")
    await asked.prompt("Question 2", run_id="r2")
    before = await checkpointer.load(THREAD)
    result = await asked.fork_once(THREAD, "What if?", after_run_id="r1")
    assert result.text == "A guess."
    assert heard == [["user: Question 1", "assistant: Reply 1.", "user: What if?"]]
    assert await checkpointer.load(THREAD) == before
    assert [thread.thread_id for thread in await checkpointer.list_threads()] == [THREAD]
    assert await states(checkpointer) == {"r1": "completed", "r2": "completed"}


@pytest.mark.parametrize("way", ["ask", "approve"])
async def test_a_question_is_answered_in_another_process(
    framework: Framework, database_url: str, way: str
) -> None:
    await pause(framework, database_url, calls(framework, **TURN[way]), way)
    async with framework.client.Checkpointer(database_url) as checkpointer:
        assert await log(checkpointer) == ["user: I want a refund!", CALL[way]]
        assert await states(checkpointer) == {"asks": "waiting"}
        assert await checkpointer.stale_runs(timedelta(0)) == []
        request, run_id = await checkpointer.load_pending(THREAD)
        assert (request.thread_id, request.payload.kind, run_id) == (THREAD, way, "asks")

        answers = run_worker("answer", database_url, way)

        given = {
            "ask": {"refund": "yes"},
            "approve": {"decision": "approve", "edited_args": None, "reason": None},
        }
        assert answers == [[request.question_id, given[way]]]
        assert await log(checkpointer) == [
            "user: I want a refund!",
            CALL[way],
            RESULT[way],
            "assistant: Done.",
        ]
        assert await states(checkpointer) == {"asks": "completed"}
        assert await checkpointer.load_pending(THREAD) is None
        key = {"thread_id": THREAD, "question_id": request.question_id}
        assert await checkpointer.load_hitl_answer(**key, run_id="asks") is None


async def test_two_questions_are_answered_in_two_processes(
    framework: Framework, database_url: str
) -> None:
    """The first answer is kept while the second is waited for: nobody asks twice."""
    turn = calls(framework, track={"order": 17}, refund={"euros": 20})
    await pause(framework, database_url, turn, "approve")
    yes = {"decision": "approve", "edited_args": None, "reason": None}
    async with framework.client.Checkpointer(database_url) as checkpointer:
        assert (await checkpointer.load_pending_request(THREAD)).question_id == "call-track"
        assert run_worker("answer", database_url, "approve") == [["call-track", yes]]

        assert (await checkpointer.load_pending_request(THREAD)).question_id == "call-refund"
        assert await checkpointer.load_hitl_answer(THREAD, "call-track", run_id="asks") == yes
        assert await states(checkpointer) == {"asks": "waiting"}
        assert run_worker("answer", database_url, "approve") == [
            ["call-track", yes],
            ["call-refund", yes],
        ]

        assert await log(checkpointer) == [
            "user: I want a refund!",
            "assistant: track(order=17) refund(euros=20)",
            "tool_result: Order 17 is in Köln.",
            "tool_result: 20 euros are on their way.",
            "assistant: Done.",
        ]
        assert await states(checkpointer) == {"asks": "completed"}
        assert await checkpointer.load_pending(THREAD) is None
        assert await checkpointer.load_hitl_answer(THREAD, "call-track", run_id="asks") is None


async def test_a_pending_question_is_aborted(framework: Framework, database_url: str) -> None:
    """Another process closes the turn, its answers go, and the thread goes on."""
    await pause(framework, database_url, calls(framework, **TURN["approve"]), "approve")
    async with framework.client.Checkpointer(database_url) as checkpointer:
        await checkpointer.save_hitl_answer(THREAD, "earlier", answer=1, run_id="asks")
        closing = asking_agent(framework, checkpointer, [], "approve", "asks")
        await closing.abort_pending("the customer left")
        aborted = [
            "user: I want a refund!",
            CALL["approve"],
            "tool_result: aborted: the customer left",
            "assistant: Conversation aborted: the customer left",
        ]
        assert await log(checkpointer) == aborted
        assert await checkpointer.load_pending(THREAD) is None
        assert await checkpointer.load_hitl_answer(THREAD, "earlier", run_id="asks") is None
        # The framework leaves the run of an aborted question open; an operator finds it.
        assert await states(checkpointer) == {"asks": "open"}
        assert [run.run_id for run in await checkpointer.stale_runs(timedelta(0))] == ["asks"]

        again = agent(framework, checkpointer, [says(framework, "Welcome back.")])
        await again.prompt("I am back.", run_id="r2")
        assert await log(checkpointer) == [
            *aborted,
            "user: I am back.",
            "assistant: Welcome back.",
        ]
        assert await states(checkpointer) == {"asks": "open", "r2": "completed"}


async def find_and_release(framework: Framework, checkpointer: Any, place: str) -> None:
    """Check what a killed process left, as an operator would, and release its run."""
    assert await log(checkpointer) == DIED[place]
    [dead] = await checkpointer.stale_runs(timedelta(0))
    assert (dead.thread_id, dead.run_id, dead.state) == (THREAD, "dead", "open")
    claimed = framework.module("checkpointer.exceptions").RunAlreadyClaimedError
    with pytest.raises(claimed):
        await agent(framework, checkpointer, []).prompt("Hello?", run_id="dead")
    await checkpointer.release_run(THREAD, "dead")
    assert await checkpointer.stale_runs(timedelta(0)) == []
    assert await log(checkpointer) == DIED[place]


@pytest.mark.parametrize("place", ["model", "tool"])
async def test_a_thread_goes_on_after_a_kill(
    framework: Framework, database_url: str, place: str
) -> None:
    """The next process reads a killed process's messages once and in order."""
    kill_worker("die", database_url, place)
    async with framework.client.Checkpointer(database_url) as checkpointer:
        await find_and_release(framework, checkpointer, place)
        heard = run_worker("go_on", database_url)
        assert heard == [[*DIED[place], "user: Still there?"]]
        assert await log(checkpointer) == [*heard[0], "assistant: Yes."]
        assert await states(checkpointer) == {"next": "completed"}


@pytest.mark.parametrize("place", ["model", "tool"])
async def test_a_killed_turn_is_resumed(
    framework: Framework, database_url: str, place: str
) -> None:
    """Another process finishes the dead one's run itself, under its own id."""
    kill_worker("die", database_url, place)
    async with framework.client.Checkpointer(database_url) as checkpointer:
        await find_and_release(framework, checkpointer, place)
        run_worker("resume", database_url)
        interrupted = [f"tool_result: {INTERRUPTED}"] if place == "tool" else []
        assert await log(checkpointer) == [*DIED[place], *interrupted, "assistant: In Köln."]
        assert await states(checkpointer) == {"dead": "completed"}
        messages = await checkpointer.snapshot(THREAD, after_run_id="dead")
        assert said(messages) == await log(checkpointer)


async def test_a_cancelled_turn_is_closed(framework: Framework, checkpointer: Any) -> None:
    inside = asyncio.Event()

    async def search(place: str) -> str:
        """Search a place."""
        inside.set()
        await asyncio.sleep(60)
        return "nothing"

    tools = [track_tool(framework), framework.module().tool(search)]
    turns = [calls(framework, track={"order": 17}, search={"place": "depot"})]
    searching = agent(framework, checkpointer, turns, tools=tools, tool_execution="sequential")
    task = asyncio.create_task(searching.prompt("Where is my parcel?", run_id="r"))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    data = await checkpointer.load(THREAD)
    assert said(data.messages) == [
        *DIED["tool"],
        "tool_result: [Tool execution cancelled by user]",
    ]
    assert data.messages == searching.state.messages
    assert await states(checkpointer) == {"r": "open"}


async def test_a_failed_turn_is_stored(framework: Framework, checkpointer: Any) -> None:

    def failing_model(*given: object) -> Any:
        raise ConnectionError("the model is overloaded")

    failing = agent(framework, checkpointer, [failing_model, says(framework, "Hello.")])
    await failing.prompt("Hi!", run_id="r1")
    await failing.prompt("Hi again!", run_id="r2")
    data = await checkpointer.load(THREAD)
    assert said(data.messages) == [
        "user: Hi!",
        "assistant: ",
        "user: Hi again!",
        "assistant: Hello.",
    ]
    assert data.messages == failing.state.messages
    assert data.messages[1].stop_reason == "error"
    assert data.messages[1].error_message == "the model is overloaded"
    assert await states(checkpointer) == {"r1": "open", "r2": "completed"}


async def test_a_run_released_under_a_living_agent(framework: Framework, checkpointer: Any) -> None:
    """An agent whose run was given up by mistake is told, by the framework's error."""

    async def slow_model(*given: object) -> Any:
        await checkpointer.release_run(THREAD, "r")
        return says(framework, "Here I am.")

    slow = agent(framework, checkpointer, [slow_model])
    exceptions = framework.module("checkpointer.exceptions")
    with pytest.raises(exceptions.CompletionMarkerFailedError) as caught:
        await slow.prompt("Hi!", run_id="r")
    assert isinstance(caught.value.__cause__, exceptions.RunNotClaimedError)
    assert await log(checkpointer) == ["user: Hi!", "assistant: Here I am."]


async def test_the_first_prompt_takes_few_statements(
    framework: Framework, backend: str, backend_url: str, count: Any
) -> None:

    async def prompts(checkpointer: Any, name: str) -> int:
        threads = iter(f"{name} {n}" for n in range(3))

        async def prompt() -> None:
            turns = [says(framework, "Hello.")]
            first = agent(framework, checkpointer, turns, thread_id=next(threads))
            await first.prompt("Hi!")

        return int(await count.of(prompt))

    name = BACKENDS[backend].checkpointer
    async with getattr(framework.client, name)(backend_url) as ours:
        sent = await prompts(ours, "ours")
    async with getattr(framework.module("checkpointer"), name)(backend_url) as theirs:
        sent_by_theirs = await prompts(theirs, "theirs")
    print(f"first prompt: {sent} statements, {framework.name}'s own backend {sent_by_theirs}")
    assert sent <= BACKENDS[backend].first_prompt
    assert sent < sent_by_theirs
