"""A process that runs an agent: ``python -m tests.frameworks.worker ROLE URL [ARGUMENT ...]``.

It prints JSON lines.
"""

import asyncio
import json
import sys
from typing import Any

from tests.frameworks.agents import (
    INTERRUPTED,
    THREAD,
    agent,
    asking_agent,
    calls,
    said,
    says,
    track_tool,
    until_it_asks,
)
from tests.frameworks.framework import Framework, framework_under_test


def report(what: object) -> None:
    """Print a line for the test that reads it."""
    print(json.dumps(what), flush=True)


async def hang() -> None:
    """Report that the process can be killed, and wait for it."""
    report("kill me")
    await asyncio.sleep(60)


async def die(framework: Framework, checkpointer: Any, place: str) -> None:
    """Answer a question, and hang in the middle of it: in the ``model`` or in a ``tool``."""

    async def search(place: str) -> str:
        """Search a place."""
        await hang()
        return "nothing"

    async def hanging_model(*given: object) -> Any:
        if place == "model":
            await hang()
        return calls(framework, track={"order": 17}, search={"place": "depot"})

    doomed = agent(
        framework,
        checkpointer,
        [hanging_model],
        tools=[track_tool(framework), framework.module().tool(search)],
        tool_execution="sequential",
    )
    await doomed.prompt("Where is my parcel?", run_id="dead")


async def go_on(framework: Framework, checkpointer: Any) -> None:
    """Append another message to the thread; report the model's input."""

    def hearing_model(messages: list[Any], *rest: object) -> Any:
        report(said(messages))
        return says(framework, "Yes.")

    await agent(framework, checkpointer, [hearing_model]).prompt("Still there?", run_id="next")


async def resume(framework: Framework, checkpointer: Any) -> None:
    """Finish a dead process's run, whose claim was released."""
    messages = (await checkpointer.load(THREAD)).messages
    called = {c.id: c for m in messages for c in m.content if c.type == "tool_call"}
    answered = {m.tool_call_id for m in messages if m.role == "tool_result"}
    for call_id in called.keys() - answered:  # models insist on a result for every call
        result = framework.module("providers.base").ToolResultMessage(
            tool_call_id=call_id,
            tool_name=called[call_id].name,
            content=[framework.module("providers.base").TextContent(text=INTERRUPTED)],
            is_error=True,
            run_id="dead",
        )
        await checkpointer.append(THREAD, [result])
    resumed = agent(framework, checkpointer, [says(framework, "In Köln.")])
    resumed.state.messages = (await checkpointer.load(THREAD)).messages
    await resumed.resume(run_id="dead")


async def answer(framework: Framework, checkpointer: Any, way: str) -> None:
    """Answer the thread's question and go on until the run is done or asks again.

    Reports the answers in the ledger when the agent gets them.
    """
    turns = [says(framework, "Done.")]
    asking = asking_agent(framework, checkpointer, turns, way, "asks")

    async def listen(event: Any, signal: object) -> None:
        if event.type == "hitl_answer":
            kept = await checkpointer.load_hitl_answer(THREAD, event.question_id, run_id="asks")
            report([event.question_id, kept])

    asking.subscribe(listen)
    yes = {
        "ask": {"refund": "yes"},
        "approve": framework.module("hitl").ApproveAnswer(decision="approve"),
    }
    await until_it_asks(asking, asking.respond(answer=yes[way]))


ROLES = {role.__name__: role for role in (die, go_on, resume, answer)}


async def main(role: str, url: str, *arguments: str) -> None:
    """Run a role on the database."""
    framework = framework_under_test()
    async with framework.client.Checkpointer(url) as checkpointer:
        await ROLES[role](framework, checkpointer, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
