"""A process that uses a checkpointer without a break: ``python -m tests.chaos.worker``.

Its one argument is an `Order` in JSON. It works until its standard input ends, then makes one
last call with each of its tasks, which must succeed, and looks at its connections.
"""

import asyncio
import json
import logging
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import QueuePool

from tests.chaos.journal import Journal
from tests.support.ways import EachInAThread
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.errors import CheckpointerError, StorageError
from threadlog.log.hitl_request import HitlRequest
from threadlog.messages import Message, TextContent, UserMessage

TASKS: Final = 4
_LAST_CALL_SECONDS: Final = 60.0
_OPENING_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Order:
    """The instructions for a worker."""

    url: str
    journal: str
    name: str
    seed: int
    threads: int
    """How many threads of messages it shares with the other workers."""

    synchronous: bool = False
    """True for a `SyncCheckpointer` whose tasks are threads, none of which is cancelled."""

    cancel: float = 0.0
    """The part of the calls that are cancelled."""

    bytes: int = 200
    """The length of a message's text."""


class Task:
    """A writer whose calls, one after the other, are noted before and after."""

    def __init__(self, order: Order, number: int, checkpointer: Checkpointer) -> None:
        self._writer = f"{order.name}.{number}"
        self._order = order
        self._dice = random.Random(f"{order.seed} {self._writer}")
        self._checkpointer = checkpointer
        self._journal = Journal(Path(order.journal))
        self._count = 0

    async def act(self) -> None:
        """Call a random method, perhaps cancelled."""
        verb = self._dice.choices(list(_VERBS), [weight for _, weight in _VERBS.values()])[0]
        call = _VERBS[verb][0](self)
        # A thread would go on behind the cancelled call, and be overtaken by the next one.
        if self._order.synchronous or self._dice.random() >= self._order.cancel:
            await self._noted(verb, call)
            return
        try:
            async with asyncio.timeout(self._dice.random() * 0.02):
                await self._noted(verb, call)
        except TimeoutError:
            self._journal.write("cancelled", verb=verb)

    async def last(self) -> None:
        """Check that a call succeeds after the fault is over."""
        async with asyncio.timeout(_LAST_CALL_SECONDS):
            while not await self._noted("append", self.append()):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.2)

    async def _noted(self, verb: str, call: Awaitable[None]) -> bool:
        try:
            await call
        except (CheckpointerError, StorageError) as error:
            self._journal.write("error", verb=verb, kind=type(error).__name__, text=str(error))
            return isinstance(error, CheckpointerError)
        except Exception as error:
            self._journal.write("unexpected", verb=verb, kind=type(error).__name__, text=str(error))
            raise
        self._journal.write("done", verb=verb)
        return True

    def _thread(self) -> str:
        return f"t{self._dice.randrange(self._order.threads)}"

    def _next(self) -> int:
        self._count += 1
        return self._count

    async def append(self) -> None:
        """Append a batch of its own."""
        thread, batch, size = self._thread(), self._next(), self._dice.randint(1, 5)
        text = TextContent(text="x" * self._order.bytes)
        said: list[Message] = [
            UserMessage(
                content=[text],
                metadata={"writer": self._writer, "batch": batch, "place": place, "size": size},
            )
            for place in range(size)
        ]
        noted = {"writer": self._writer, "thread": thread, "batch": batch}
        self._journal.write("append", size=size, **noted)
        await self._checkpointer.append(thread, said)
        self._journal.write("appended", **noted)

    async def save_extra(self) -> None:
        """Save a higher value under this worker's own key."""
        noted = {"writer": self._writer, "thread": self._thread(), "value": self._next()}
        self._journal.write("save", **noted)
        await self._checkpointer.save_extra(
            str(noted["thread"]), {self._writer: noted["value"], f"null-{self._writer}": None}
        )
        self._journal.write("saved", **noted)

    async def load(self) -> None:
        """Load a thread, whole or its end."""
        await self._checkpointer.load(self._thread(), last=self._dice.choice([None, 10]))

    async def read(self) -> None:
        """Read a page."""
        await self._checkpointer.read(self._thread(), after_seq=self._dice.randrange(50), limit=20)

    async def list_threads(self) -> None:
        """List threads."""
        await self._checkpointer.list_threads(order=self._dice.choice(["id", "recent"]), limit=20)

    async def run(self) -> None:
        """Claim and complete a run, fork behind it, and delete the fork."""
        thread, run = self._thread(), f"{self._writer}-{self._next()}"
        await self._checkpointer.claim_run(thread, run)
        await self._checkpointer.mark_run_complete(thread, run)
        await self._checkpointer.snapshot(thread, after_run_id=run)
        await self._checkpointer.fork(thread, f"fork-{run}", after_run_id=run)
        await self._checkpointer.delete_thread(f"fork-{run}")

    async def ask(self) -> None:
        """Set a pending request, answer it, and clear it."""
        thread, question = self._thread(), f"{self._writer}-{self._next()}"
        request = HitlRequest(question_id=question, payload={"kind": "approve"})
        await self._checkpointer.save_pending_request(thread, request, run_id=question)
        await self._checkpointer.load_pending_request(thread)
        await self._checkpointer.save_hitl_answer(thread, question, {"n": 1}, run_id=question)
        await self._checkpointer.clear_pending_request_if_matches(
            thread, question_id=question, run_id=question
        )
        await self._checkpointer.clear_hitl_answers(thread, [question], run_id=question)


_VERBS: Final[dict[str, tuple[Callable[[Task], Awaitable[None]], int]]] = {
    "append": (Task.append, 10),
    "save_extra": (Task.save_extra, 4),
    "load": (Task.load, 3),
    "read": (Task.read, 2),
    "list_threads": (Task.list_threads, 1),
    "run": (Task.run, 1),
    "ask": (Task.ask, 1),
}


class _Loud(logging.Handler):
    """Notes what is logged: a traceback that nobody asked for is a fault."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        cause = repr(record.exc_info[1]) if record.exc_info else ""
        self._journal.write("logged", text=f"{record.name}: {record.getMessage()} {cause}")


@asynccontextmanager
async def opened(order: Order) -> AsyncIterator[tuple[Checkpointer, Any]]:
    """Open a checkpointer of the ordered kind; yield also the object that has its engines."""
    if not order.synchronous:
        async with Checkpointer(order.url) as checkpointer:
            yield checkpointer, checkpointer.client
        return
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(TASKS + 2))
    sync = SyncCheckpointer(order.url)
    await asyncio.to_thread(sync.__enter__)
    yield cast("Checkpointer", EachInAThread(sync)), sync.client
    await asyncio.to_thread(sync.__exit__, None, None, None)


async def _told_to_end() -> None:
    """Wait until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _work(order: Order, checkpointer: Checkpointer) -> None:
    tasks = [Task(order, number, checkpointer) for number in range(TASKS)]
    ending = asyncio.create_task(_told_to_end())

    async def loop(task: Task) -> None:
        while not ending.done():
            await task.act()
        await task.last()

    await asyncio.gather(*map(loop, tasks))


async def _main(order: Order) -> None:
    journal = Journal(Path(order.journal))
    logging.getLogger().addHandler(_Loud(journal))
    async with _patient(order) as (checkpointer, sessions):
        print("ready", flush=True)
        await _work(order, checkpointer)
        engines = [engine for engine in (sessions.engine, sessions.reading_engine) if engine]
        taken = sum(cast("QueuePool", engine.pool).checkedout() for engine in engines)
        journal.write("end", taken=taken)


@asynccontextmanager
async def _patient(order: Order) -> AsyncIterator[tuple[Checkpointer, Any]]:
    """Open again where the server is away just now."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _OPENING_SECONDS
    while True:
        opening = opened(order)
        try:
            given = await opening.__aenter__()
            break
        except StorageError:
            if loop.time() > deadline:
                raise
    yield given
    await opening.__aexit__(None, None, None)


if __name__ == "__main__":
    asyncio.run(_main(Order(**json.loads(sys.argv[1]))))
