"""Three processes, one conversation, and an agent that is killed in the middle of a tool.

The processes are those of examples/agent.py, one after the other. The first is killed with
SIGKILL while a tool works. The second continues the run, and ends while the agent waits for a
person's permission. The third passes on the permission. At the end the log is checked: each
line is there once and in order, and each run is completed.

Run it with: make example-agent, or make example-agent URL=mysql://user:password@host/database
"""

import asyncio
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE
from contextlib import suppress
from signal import SIGKILL

from examples import agent
from threadlog.cubeloop import Checkpointer


async def start(url: str, process: str, *, kill: bool = False) -> list[str]:
    """Run a process, print its output, and return the lines of the conversation in it."""
    print(f"\nThe {process} process:")
    command = [sys.executable, agent.__file__, url, process]
    started = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    said = []
    async for raw in started.stdout or StreamReader():
        text = raw.decode().rstrip()
        print(f"       {text}")
        if not text.startswith("("):
            said.append(text)
        if kill and text == agent.SEARCHING:
            started.kill()
            print("       ------------ killed here, with SIGKILL ------------")
    if await started.wait() != (-SIGKILL if kill else 0):
        sys.exit(f"The {process} process ended with {started.returncode}.")
    return said


async def expect(checkpointer: Checkpointer, expected: dict[str, str]) -> None:
    """Print the states of the runs, and exit with an error if they are not as expected."""
    runs = {run.run_id: run.state for run in await checkpointer.runs(agent.THREAD)}
    print("The database says:", ", ".join(f"{run} is {state}" for run, state in runs.items()))
    if runs != expected:
        sys.exit(f"The runs should be {expected}.")


async def demonstrate(url: str) -> None:
    """Run the three processes, check the stored conversation, and print it."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.delete_thread(agent.THREAD)
        print("A customer talks with an agent, which works in three processes, one by one.")
        said = await start(url, "first", kill=True)
        await expect(checkpointer, {"run-1": "open"})
        said += await start(url, "second")
        await expect(checkpointer, {"run-1": "completed", "run-2": "waiting"})
        said += await start(url, "third")
        await expect(checkpointer, {"run-1": "completed", "run-2": "completed"})
        log = await checkpointer.read(agent.THREAD)
        pending = await checkpointer.load_pending(agent.THREAD)
    print("\nThe conversation, as it is stored:")
    for stored in log:
        print(f"{stored.seq:5}  {stored.message.run_id}  {agent.line(stored.message)}")
    if pending is not None:
        sys.exit("A question is still pending.")
    if [stored.seq for stored in log] != list(range(1, len(log) + 1)):
        sys.exit("seq has a gap or a duplicate.")
    if [agent.line(stored.message) for stored in log] != said:
        sys.exit("What is stored is not what was said, once and in order.")
    print(f"{len(log)} messages, seq 1 to {len(log)} without a gap, none lost, none doubled.")
    print(f"See it all: .venv/bin/threadlog show {agent.THREAD} --url {url}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(demonstrate(sys.argv[1]))
