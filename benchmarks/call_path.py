"""Count the functions, calls and files of threadlog that one warm call passes through.

Run it with ``python -m benchmarks.call_path [URL] [--list]``. The URL names a server;
SQLite is used if it is left out. The tables are created in a database that is dropped at the end.

What counts, by the interpreter's own profile hook:

- A function counts if its file lies in app, models, repositories or migrations. Functions of the
  standard library, SQLAlchemy, the drivers and the methods that ``dataclass`` writes do not.
- A lambda, a comprehension or a generator expression counts as a function of its own.
- A coroutine or a generator is one call, however often it is resumed.
- A call is warm: it was made before, so that caches are full and no connection is opened. Of
  several recordings the shortest counts, since now and then a call has more to do: an append
  updates the thread's time of last activity once a second.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from langgraph.checkpoint.base import ChannelVersions, Checkpoint
from langgraph.checkpoint.base.id import uuid6

from tests.graph.saver.making import config_for, metadata_of
from tests.support.databases import create_schema, fresh_database, on_connection
from threadlog import Checkpointer
from threadlog.langgraph import Saver
from threadlog.messages import TextContent, UserMessage
from threadlog.models import GRAPH

_ROOT: Final = Path(__file__).resolve().parents[1]
_FOLDERS: Final = tuple(_ROOT / name for name in ("app", "models", "repositories", "migrations"))
_RESUMED: Final = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
_LOADED: Final = 60
_WARM: Final = 3
_RECORDINGS: Final = 5


@dataclass(frozen=True)
class Function:
    """A function that a call entered."""

    file: str
    """Relative to the repository."""

    name: str
    line: int


@dataclass
class CallPath:
    """The functions that one call passed through."""

    entered: dict[Function, int] = field(default_factory=dict)
    """How often each was entered, in the order of the first time."""

    @property
    def files(self) -> list[str]:
        """The files of the functions, in the order in which they were first entered."""
        return list(dict.fromkeys(function.file for function in self.entered))

    @property
    def size(self) -> tuple[int, int, int]:
        """The numbers of functions, calls and files."""
        return len(self.entered), sum(self.entered.values()), len(self.files)


class Recorder:
    """Records the functions that are entered while a call runs, in whatever thread.

    Threads are seen if they start after `installed` was entered.
    """

    def __init__(self) -> None:
        self._path: CallPath | None = None
        self._resumed: set[FrameType] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Record calls in this thread and in the threads that start inside the block."""
        threading.setprofile(self._enter)
        sys.setprofile(self._enter)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    async def record(self, call: Callable[[], Awaitable[object]]) -> CallPath:
        """Return the path of one call."""
        path = self._path = CallPath()
        try:
            await call()
        finally:
            self._path = None
            self._resumed.clear()
        return path

    async def shortest(self, call: Callable[[], Awaitable[object]]) -> CallPath:
        """Return the shortest path of several warm calls."""
        for _ in range(_WARM):
            await call()
        paths = [await self.record(call) for _ in range(_RECORDINGS)]
        return min(paths, key=lambda path: path.size)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> None:
        path = self._path
        if path is None or event != "call":
            return
        function = _function(frame.f_code)
        if function is None or frame in self._resumed:
            return
        if frame.f_code.co_flags & _RESUMED:
            self._resumed.add(frame)
        path.entered[function] = path.entered.get(function, 0) + 1


@cache
def _function(code: CodeType) -> Function | None:
    """Return the function of a code object; None if it is not one of threadlog's."""
    file = Path(code.co_filename).resolve()  # an editable install links each file
    if not any(file.is_relative_to(folder) for folder in _FOLDERS):
        return None
    relative = file.relative_to(_ROOT).as_posix()
    return Function(relative, code.co_qualname, code.co_firstlineno)


# --- The calls -----------------------------------------------------------------------


Calls = dict[str, Callable[[], Awaitable[object]]]
Paths = dict[str, CallPath]


@asynccontextmanager
async def calls_of_the_log(url: str) -> AsyncIterator[Calls]:
    """Open a checkpointer and yield the calls that are measured on it."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("long", [_message() for _ in range(_LOADED)])
        yield {
            "append": lambda: checkpointer.append("thread", [_message()]),
            "load": lambda: checkpointer.load("long"),
        }


@asynccontextmanager
async def calls_of_the_graph(url: str) -> AsyncIterator[Calls]:
    """Open a saver and yield the calls that are measured on it."""
    async with Saver(url) as saver:
        step = 0
        config = config_for("thread")

        async def put() -> None:
            nonlocal config, step
            step += 1
            versions: ChannelVersions = {"state": f"{step:032}"}
            config = await saver.aput(config, _checkpoint(versions), metadata_of(step), versions)

        async def put_writes() -> None:
            nonlocal step
            step += 1
            await saver.aput_writes(config, [("state", "x")], f"task {step}")

        await put()
        yield {
            "aput": put,
            "aput_writes": put_writes,
            "aget_tuple": lambda: saver.aget_tuple(config_for("thread")),
        }


def _message() -> UserMessage:
    return UserMessage(content=[TextContent(text="Hello")])


def _checkpoint(versions: ChannelVersions) -> Checkpoint:
    return Checkpoint(
        v=4,
        id=str(uuid6()),
        ts="2026-11-24T12:00:00+00:00",
        channel_values={"state": "x"},
        channel_versions=versions,
        versions_seen={},
        updated_channels=None,
    )


async def log_paths(url: str) -> Paths:
    """Return the paths of the calls on a database with the tables of the message log."""
    recorder = Recorder()
    with recorder.installed():
        async with calls_of_the_log(url) as calls:
            return {name: await recorder.shortest(call) for name, call in calls.items()}


async def graph_paths(url: str) -> Paths:
    """Return the paths of the calls on a database with the tables of the graph state."""
    recorder = Recorder()
    with recorder.installed():
        async with calls_of_the_graph(url) as calls:
            return {name: await recorder.shortest(call) for name, call in calls.items()}


# --- Printing ------------------------------------------------------------------------


async def measure(url: str) -> Paths:
    """Return the paths of all calls."""
    return await log_paths(url) | await graph_paths(url)


def _print_table(paths: Paths) -> None:
    print("| call | functions | calls | files |")
    print("|---|---|---|---|")
    for name, path in paths.items():
        functions, calls, files = path.size
        print(f"| `{name}` | {functions} | {calls} | {files} |")


def _print_functions(paths: Paths) -> None:
    for name, path in paths.items():
        print(f"\n{name}")
        for function, times in path.entered.items():
            again = f"  ({times} times)" if times > 1 else ""
            print(f"  {function.file}:{function.line}  {function.name}{again}")


def main() -> None:
    """Print the table, and with --list the functions."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.call_path",
        description="Count what one warm call passes through.",
    )
    parser.add_argument("url", nargs="?", help="a server; SQLite if left out")
    parser.add_argument("--list", action="store_true", help="print the functions in order")
    options = parser.parse_args()
    if options.url is None:
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(measure(f"sqlite:///{folder}/call_path.db"))
    else:
        with fresh_database(options.url) as url:
            asyncio.run(on_connection(url, create_schema))
            asyncio.run(on_connection(url, partial(create_schema, part=GRAPH)))
            found = asyncio.run(measure(url))
    _print_table(found)
    if options.list:
        _print_functions(found)


if __name__ == "__main__":
    main()
