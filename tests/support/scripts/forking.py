"""Fork after opening: ``python -m tests.support.scripts.forking URL``.

Prints how many of the children's appends were acknowledged, how many messages the thread has
afterwards, and what an asynchronous checkpointer of the parent raises in a child.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import partial

from threadlog import Checkpointer, SyncCheckpointer
from threadlog.messages import TextContent, UserMessage

CHILDREN, EACH = 3, 10


def message(text: str) -> UserMessage:
    """Return a message with a text."""
    return UserMessage(content=[TextContent(text=text)])


def in_child(work: Callable[[], str]) -> int:
    """Run work in a forked child and return the read end of a pipe with its result."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    os.write(writer, work().encode())
    os._exit(0)


def result(reader: int) -> str:
    """Return the result of a child."""
    with os.fdopen(reader) as pipe:
        return pipe.read()


def main(url: str) -> None:
    """Fork from a synchronous checkpointer, then from an asynchronous one."""
    with SyncCheckpointer(url) as checkpointer:
        checkpointer.append("forked", [message("parent, before")])

        def append(child: int) -> str:
            for number in range(EACH):
                checkpointer.append("forked", [message(f"{child}-{number}")])
            return str(EACH)

        readers = [in_child(partial(append, child)) for child in range(CHILDREN)]
        checkpointer.append("forked", [message("parent, meanwhile")])
        acknowledged = sum(int(result(reader)) for reader in readers)
        checkpointer.append("forked", [message("parent, after")])
        stored = len(checkpointer.read("forked"))
    print(json.dumps([acknowledged, stored, asyncio.run(in_a_loop(url))]))


async def in_a_loop(url: str) -> str:
    """Return the name of the error of an asynchronous checkpointer in a child."""
    async with Checkpointer(url) as checkpointer:
        reader, writer = os.pipe()
        if not os.fork():
            os.write(writer, name_of_error(checkpointer).encode())
            os._exit(0)
        os.close(writer)
        name = result(reader)
        assert len(await checkpointer.read("forked")) > 1  # the parent is unharmed
        return name


def name_of_error(checkpointer: Checkpointer) -> str:
    """Use a checkpointer in a loop of this process and return the error's name."""
    asyncio._set_running_loop(None)
    try:
        asyncio.run(checkpointer.load("forked"))
    except Exception as error:  # noqa: BLE001 - its name is the result
        return type(error).__name__
    return "none"


if __name__ == "__main__":
    main(sys.argv[1])
