"""The event loop, thread and process that a client was opened in."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from threadlog.errors import ForkedProcessError, WrongEventLoopError

T = TypeVar("T")


class Home:
    """Where the connections of a client may be used.

    A socket that two event loops, or a parent and a forked child, use returns the answers of
    one to the other.
    """

    def __init__(self) -> None:
        """Record the running event loop, its thread and the process."""
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._process = os.getpid()

    async def run(self, client: object, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a call from another event loop in the loop that opened the client.

        Args:
            client: named in errors.
            call: creates the coroutine to run.

        Raises:
            ForkedProcessError: this process was forked from the home process.
            WrongEventLoopError: the home loop does not run, or runs in this thread and would
                wait for itself.
        """
        self.check(client)
        future = asyncio.run_coroutine_threadsafe(call(), self.loop)
        return await asyncio.wrap_future(future)

    def check(self, client: object) -> None:
        """Check that calls of this thread can be run in the home loop.

        Raises:
            ForkedProcessError: this process was forked from the home process.
            WrongEventLoopError: the home loop does not run, or runs in this thread.
        """
        if os.getpid() != self._process:
            raise ForkedProcessError(
                f"The checkpointer for {client} was opened before this process was forked. Open "
                "it in the child process."
            )
        if threading.get_ident() == self._thread or not self.loop.is_running():
            raise WrongEventLoopError(
                f"The checkpointer for {client} was opened in another event loop, which cannot "
                "run this call now. Open it inside the loop that uses it, or keep one loop "
                "running until the application ends."
            )
