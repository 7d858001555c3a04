"""A cubeloop agent on threadlog's checkpointer that continues after it was killed.

Copy `make_agent`, and `recover`, which continues the run of a dead process. The functions
`first`, `second` and `third` are three processes with one conversation;
examples/killed_agent.py starts them, and kills the first.

A script replaces the language model, so that no network is needed. Everything else is real.
"""

import asyncio
import sys
from datetime import timedelta

from cubeloop import (
    Agent,
    AssistantMessage,
    Message,
    Model,
    TextContent,
    ToolCall,
    ToolResultMessage,
    tool,
)
from cubeloop.agent.types import AgentEvent, HitlRequestEvent, MessageEndEvent
from cubeloop.hitl import (
    ApproveAnswer,
    ApproveRequest,
    CheckpointedChannel,
    ConfirmToolCallMiddleware,
)
from cubeloop.providers.faux import FauxProvider, faux_assistant_message, faux_tool_call

from threadlog import RunSummary
from threadlog.cubeloop import Checkpointer
from threadlog.errors import RunAlreadyClaimedError, RunNotClaimedError

THREAD = "example/order-17"
SILENCE = timedelta(seconds=1)  # in production: longer than any tool or model may take
SEARCHING = "(The tool starts to search the whole depot, which takes a minute.)"
INTERRUPTED = "The process died in this tool. Whether the tool did its work is unknown."


@tool
async def track_parcel(parcel: int) -> str:
    """Return the place where a parcel was last seen."""
    return f"Parcel {parcel} was last seen in Cologne."


@tool
async def search_depot(place: str) -> str:
    """Search a place in the depot for the parcel."""
    if place == "everywhere":
        print(SEARCHING, flush=True)
        await asyncio.sleep(60)
    return f"Searched {place}: it is not there."


@tool
async def refund(euros: int) -> str:
    """Refund money to the customer."""
    return f"{euros} euros are on their way."


SCRIPT: dict[str, str | ToolCall] = {
    "Where is my parcel?": faux_tool_call("track_parcel", {"parcel": 17}),
    "Parcel 17 was last seen in Cologne.": faux_tool_call("search_depot", {"place": "everywhere"}),
    INTERRUPTED: faux_tool_call("search_depot", {"place": "shelf 3"}),
    "Searched shelf 3: it is not there.": "I am sorry, it is lost. Do you want a refund?",
    "Yes, please.": faux_tool_call("refund", {"euros": 20}),
    "20 euros are on their way.": "Done, you get 20 euros.",
}


def think(messages: list[Message], model: Model) -> AssistantMessage:
    """Return the scripted reply to the last message, in place of a language model."""
    reply = SCRIPT[words(messages[-1])]
    reason = "tool_use" if isinstance(reply, ToolCall) else "stop"
    return faux_assistant_message(reply, stop_reason=reason)


def make_agent(checkpointer: Checkpointer, run_id: str) -> Agent[Message]:
    """Create the agent for a run, in any process. It must ask a person before it refunds."""
    provider = FauxProvider()
    provider.set_responses([think] * 10)
    channel = CheckpointedChannel(checkpointer=checkpointer, thread_id=THREAD, run_id=run_id)
    agent = Agent[Message](
        model=provider.model("script"),
        tools=[track_parcel, search_depot, refund],
        middleware=[ConfirmToolCallMiddleware(channel, require_confirm=["refund"])],
        channel=channel,
        checkpointer=checkpointer,
        thread_id=THREAD,
    )

    async def listen(event: AgentEvent, signal: asyncio.Event | None) -> None:
        if isinstance(event, MessageEndEvent):
            say(event.message)  # stored by now
        if isinstance(event, HitlRequestEvent):
            await agent.detach()  # stored too: nobody needs to wait in this process

    agent.subscribe(listen)
    return agent


async def recover(checkpointer: Checkpointer, run: RunSummary) -> None:
    """Continue a run whose process died, at any moment of the run.

    Any number of processes may try at once: the claim is released for one of them.
    """
    data = await checkpointer.load(run.thread_id)
    messages = [m for m in data.messages if m.run_id == run.run_id] if data else []
    calls = unanswered_calls(messages)
    if messages and isinstance(messages[-1], AssistantMessage) and not calls:
        await checkpointer.mark_run_complete(run.thread_id, run.run_id)  # it had ended
        return
    try:
        await checkpointer.release_run(run.thread_id, run.run_id, older_than=SILENCE)
    except (RunAlreadyClaimedError, RunNotClaimedError):
        return  # another process was first
    for call in calls:  # models require a result for every call
        result = ToolResultMessage(
            tool_call_id=call.id,
            tool_name=call.name,
            content=[TextContent(text=INTERRUPTED)],
            is_error=True,
            run_id=run.run_id,
        )
        await checkpointer.append(run.thread_id, [result])
        say(result)
    if messages:  # else it died before the question was stored; ask it again
        agent = make_agent(checkpointer, run.run_id)
        await agent.session.load_checkpoint()
        await agent.resume(run_id=run.run_id)  # claims the run


def unanswered_calls(messages: list[Message]) -> list[ToolCall]:
    """Return the tool calls at the end of a conversation that have no result."""
    answered = set()
    for message in reversed(messages):
        if not isinstance(message, ToolResultMessage):
            calls = [block for block in message.content if isinstance(block, ToolCall)]
            return [call for call in calls if call.id not in answered]
        answered.add(message.tool_call_id)
    return []


async def first(checkpointer: Checkpointer) -> None:
    """Ask the customer's question. This process is killed before the answer."""
    await make_agent(checkpointer, "run-1").prompt("Where is my parcel?", run_id="run-1")


async def second(checkpointer: Checkpointer) -> None:
    """Continue the run of a dead process, and work until the agent needs a person."""
    dead: list[RunSummary] = []
    async with asyncio.timeout(30):
        while not dead:
            await asyncio.sleep(0.2)
            dead = [r for r in await checkpointer.stale_runs(SILENCE) if r.thread_id == THREAD]
    print(f"({dead[0].run_id} is open, but nothing was heard of it for a while: carry on.)")
    await recover(checkpointer, dead[0])
    await make_agent(checkpointer, "run-2").prompt("Yes, please.", run_id="run-2")
    print("(The agent waits for a person's permission. Nobody has to keep a process for that.)")


async def third(checkpointer: Checkpointer) -> None:
    """Answer the pending question, so that its run continues."""
    request, run_id = await checkpointer.load_pending(THREAD) or (None, None)
    if request is None or run_id is None or not isinstance(request.payload, ApproveRequest):
        sys.exit("No question is pending.")
    print(f"({run_id} asks: may I call {request.payload.tool_name} {request.payload.args}?)")
    print("(A person answers: approve.)")
    await make_agent(checkpointer, run_id).respond(answer=ApproveAnswer(decision="approve"))


def words(message: Message) -> str:
    """Return the text of a message."""
    return "".join(block.text for block in message.content if isinstance(block, TextContent))


def line(message: Message) -> str:
    """Return a message on one line."""
    calls = [f"calls {b.name} {b.arguments}" for b in message.content if isinstance(b, ToolCall)]
    return f"{message.role:11}  " + " ".join([words(message), *calls]).strip()


def say(message: Message) -> None:
    """Print a message."""
    print(line(message), flush=True)


async def main(url: str, process: str) -> None:
    """Run one of the three processes."""
    async with Checkpointer(url) as checkpointer:
        await {"first": first, "second": second, "third": third}[process](checkpointer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
