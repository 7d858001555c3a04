"""A connection of psycopg with a limit on the time that the server may take to answer.

The driver and the C library below it limit the time to connect only. Imported only if psycopg
is the driver.
"""

import time
from collections.abc import Generator
from typing import Any

from psycopg import Connection, OperationalError


class LimitedConnection(Connection[Any]):
    """A connection that waits for an answer until a limit."""

    _read_timeout: float | None = None
    """Seconds to wait for an answer; None for no limit."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer. Each of the driver's methods waits here.

        Raises:
            OperationalError: the limit was reached; the connection is closed.
        """
        if self._read_timeout is not None:
            gen = self._limited(gen, self._read_timeout)
        return super().wait(gen, *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
        """Run the driver's generator; the driver resumes it ten times a second at least."""
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
