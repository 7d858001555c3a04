"""Two processes, one conversation, and a crash in the middle of it.

A customer's process and an agent's process append to one thread at the same time. The agent
is killed with SIGKILL while it works. A new process loads the thread, finds the agent's last
turn, and continues. At the end the log is checked: seq without a gap, every acknowledged
message exactly once, the order of each writer.

Run it with: make demo, or make demo URL=mysql://user:password@host/database
"""

import asyncio
import random
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress

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
PAUSE = 0.03  # seconds; people and models take longer


def customer(turn: int) -> list[Message]:
    """Return the customer's messages of a turn."""
    text = TextContent(text=f"Where is parcel {turn}?")
    return [UserMessage(content=[text], metadata={"writer": "customer", "turn": turn})]


def agent(turn: int) -> list[Message]:
    """Return the agent's messages of a turn: a tool call and its result, stored together."""
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
    """Append a writer's turns, continuing after the last stored one."""
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
    """Yield the turns that were acknowledged to a writer, as they arrive."""
    lines = process.stdout or StreamReader()
    async for line in lines:
        yield int(line)


def turns(log: list[StoredMessage[Message]], writer: str) -> set[int]:
    """Return the turns of a writer that are in the log."""
    said = (s.message.metadata for s in log if s.message.metadata["writer"] == writer)
    return {int(str(metadata["turn"])) for metadata in said}


def check(log: list[StoredMessage[Message]], promised: dict[str, set[int]]) -> None:
    """Exit with an error if an acknowledged turn is missing or out of order."""
    if [stored.seq for stored in log] != list(range(1, len(log) + 1)):
        sys.exit("seq has a gap or a duplicate")
    for writer, make in WRITERS.items():
        if lost := promised[writer] - turns(log, writer):
            sys.exit(f"acknowledged turns of the {writer} are lost: {sorted(lost)}")
        said = [s.message for s in log if s.message.metadata["writer"] == writer]
        if said != [message for turn in range(1, TURNS + 1) for message in make(turn)]:
            sys.exit(f"what the {writer} said is not there once, whole and in order")


def show(log: list[StoredMessage[Message]], resumed: int) -> None:
    """Print the messages around the turn with which the agent resumed."""
    middle = next(
        place
        for place, stored in enumerate(log)
        if stored.message.metadata == {"writer": "agent", "turn": resumed}
    )
    for stored in log[max(0, middle - 14) : middle + 7]:
        if stored is log[middle]:
            print("      ------------ killed here, resumed by a new process ------------")
        for block in stored.message.content:
            text = f"calls {block.name}" if isinstance(block, ToolCall) else ""
            text = block.text if isinstance(block, TextContent) else text
            print(f"{stored.seq:5} {stored.message.role:12} {text}")


async def kill_somewhere(process: Process) -> set[int]:
    """Kill a writer at a random moment; return the turns that were acknowledged before."""
    promised: set[int] = set()
    async with asyncio.TaskGroup() as group:
        async for turn in acknowledged(process):
            if not promised:
                group.create_task(kill_after(process, random.uniform(0.2, 0.8)))  # noqa: S311 - any moment will do
            promised.add(turn)
    return promised


async def kill_after(process: Process, seconds: float) -> None:
    """Kill a process with SIGKILL after a delay."""
    await asyncio.sleep(seconds)
    process.kill()


async def demonstrate(url: str) -> None:
    """Run both writers, kill one, continue in a new process, and check the log."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.delete_thread(THREAD)
        print(f"A customer and an agent, two processes, append to the thread {THREAD!r} ...")
        first, other = await start(url, "agent"), await start(url, "customer")
        before = await kill_somewhere(first)
        print(f"The agent was killed. It had been told of {len(before)} turns that are stored.")
        after = {turn async for turn in acknowledged(await start(url, "agent"))}
        customers = {turn async for turn in acknowledged(other)}
        log = await checkpointer.read(THREAD)
    check(log, {"agent": before | after, "customer": customers})
    show(log, min(after))
    print(f"{len(log)} messages, seq 1 to {log[-1].seq} without a gap, none lost, none doubled.")
    print(f"See it all: .venv/bin/threadlog show {THREAD} --url {url}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if len(sys.argv) > 2:  # noqa: PLR2004 - the URL, and a writer's name
            asyncio.run(write(sys.argv[1], sys.argv[2]))
        else:
            asyncio.run(demonstrate(sys.argv[1]))
