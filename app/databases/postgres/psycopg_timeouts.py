"""A connection of psycopg that does not wait for ever for a server that says nothing.

The driver and the C library below it limit connecting alone. Imported only where psycopg is
the driver.
"""

import time
from collections.abc import Generator
from typing import Any

from psycopg import Connection, OperationalError


class LimitedConnection(Connection[Any]):
    """A connection whose answers are waited for no longer than a limit."""

    _read_timeout: float | None = None
    """Seconds to wait for an answer; None for as long as it takes."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer, which each of the driver's methods does here.

        Raises:
            OperationalError: it took too long; the connection is closed.
        """
        if self._read_timeout is not None:
            gen = self._limited(gen, self._read_timeout)
        return super().wait(gen, *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
        """Pass on what the driver waits for; it comes back ten times a second at least."""
        end = time.monotonic() + seconds
        ready: Any = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as stop:
                return stop.value
            ready = yield wanted
            if not ready and time.monotonic() > end:
                self.pgconn.finish()
                raise OperationalError(f"timed out: no answer within {seconds:g} s (read_timeout)")
