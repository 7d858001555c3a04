"""Two processes, one conversation, and a crash in the middle of it.

A customer's process and an agent's process append to one thread at the same time. The agent
is killed with SIGKILL while it works. A new process reloads the thread, sees how far the
agent got, and carries on. At the end the log is checked: seq without a gap, every message
that was acknowledged there exactly once, each writer's order kept.

Run it with: make demo, or python examples/demo.py mysql://user:password@host/database
"""

import asyncio
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

from threadlog import Checkpointer, StoredMessage
from threadlog.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    TextContent,
    ToolCall,
    ToolResultMessage,
    UserMessage,
)

THREAD = "demo/order-17"
TURNS = 40
KILL_AFTER = 12
PAUSE = 0.03  # seconds; people and models take longer


def customer(turn: int) -> list[Message]:
    """Say what the customer says in a turn."""
    text = TextContent(text=f"Where is parcel {turn}?")
    return [UserMessage(content=[text], metadata={"writer": "customer", "turn": turn})]


def agent(turn: int) -> list[Message]:
    """Say what the agent says in a turn: a tool call and its result, stored together."""
    mark: JsonObject = {"writer": "agent", "turn": turn}
    call = ToolCall(id=f"call-{turn}", name="track_parcel", arguments={"parcel": turn})
    answer = TextContent(text=f"Parcel {turn} is in Köln.")
    return [
        AssistantMessage(content=[call], stop_reason="tool_use", metadata=mark),
        ToolResultMessage(
            tool_call_id=call.id, tool_name=call.name, content=[answer], metadata=mark
        ),
    ]


WRITERS = {"customer": customer, "agent": agent}


async def write(url: str, writer: str) -> None:
    """Append a writer's turns, going on where the log says that it stopped."""
    async with Checkpointer(url) as checkpointer:
        data = await checkpointer.load(THREAD)
        stored = data.messages if data else []
        done = {m.metadata["turn"] for m in stored if m.metadata["writer"] == writer}
        for turn in range(len(done) + 1, TURNS + 1):
            await checkpointer.append(THREAD, WRITERS[writer](turn))
            print(turn, flush=True)  # acknowledged: it must survive whatever comes now
            await asyncio.sleep(PAUSE)


async def start(url: str, writer: str) -> Process:
    """Start a writer as a process of its own."""
    return await asyncio.create_subprocess_exec(sys.executable, __file__, url, writer, stdout=PIPE)


async def acknowledged(process: Process) -> AsyncIterator[int]:
    """Give the turns that a writer was told are stored, as they come."""
    lines = process.stdout or StreamReader()
    async for line in lines:
        yield int(line)


def check(log: list[StoredMessage[Message]], promised: dict[str, set[int]]) -> None:
    """Stop with an error if a promise was broken."""
    if [stored.seq for stored in log] != list(range(1, len(log) + 1)):
        sys.exit("seq has a gap or a duplicate")
    for writer, make in WRITERS.items():
        said = [s.message for s in log if s.message.metadata["writer"] == writer]
        expected = [message for turn in range(1, TURNS + 1) for message in make(turn)]
        if said != expected or not promised[writer] <= set(range(1, TURNS + 1)):
            sys.exit(f"what the {writer} said is not there once, whole and in order")


async def demonstrate(url: str) -> None:
    """Run both writers, kill one, let a new process carry on, and check the log."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.delete_thread(THREAD)
        print(f"Two processes append to the thread {THREAD!r} at the same time ...")
        first, other = await start(url, "agent"), await start(url, "customer")
        promised: dict[str, set[int]] = {"agent": set(), "customer": set()}
        async for turn in acknowledged(first):
            promised["agent"].add(turn)
            if turn == KILL_AFTER:
                first.kill()
        await first.wait()
        print(f"The agent's process was killed after turn {max(promised['agent'])}.")
        second = await start(url, "agent")
        resumed = [turn async for turn in acknowledged(second)]
        print(f"A new process reloaded the thread and carried on with turn {resumed[0]}.")
        promised["agent"].update(resumed)
        promised["customer"].update([turn async for turn in acknowledged(other)])
        await asyncio.gather(second.wait(), other.wait())
        log = await checkpointer.read(THREAD)
    check(log, promised)
    print(f"{len(log)} messages, seq 1 to {log[-1].seq} without a gap, none lost, none doubled.")
    print("The end of the conversation:", flush=True)
    show = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "threadlog", "show", THREAD, "--url", url, "--last", "9")
    )
    sys.exit(await show.wait())


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004 - the URL, and a writer's name
        asyncio.run(write(sys.argv[1], sys.argv[2]))
    else:
        asyncio.run(demonstrate(sys.argv[1]))
