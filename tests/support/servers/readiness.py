"""Whether a server answers, and whether anyone still waits for it."""

import os
import select
import sys
import time
from collections.abc import Callable

from sqlalchemy import make_url

from tests.support.servers.error import SourceFailedError, UnusableServerError
from tests.support.servers.product import Product


def answers(product: Product, url: str) -> bool:
    """Look whether a server serves clients.

    Raises:
        UnusableServerError: it does, and lacks what is needed.
    """
    try:
        product.announced(make_url(url))
    except UnusableServerError:
        raise
    except SourceFailedError:
        return False
    return True


def requester_gone(seconds: float | None) -> bool:
    """Wait for the end of standard input: who asked for the server is done or dead.

    Args:
        seconds: how long to wait at most; None waits for ever.
    """
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) == b""


def wait_until_ready(
    ready: Callable[[], bool], alive: Callable[[], bool], *, seconds: float
) -> None:
    """Wait for a server that was just started.

    Args:
        ready: whether it accepts connections.
        alive: whether it still runs.
        seconds: how long it may take.

    Raises:
        SourceFailedError: it ended, it takes too long, or nobody waits for it any more.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise SourceFailedError("the server ended while starting")
        if time.monotonic() > deadline:
            raise SourceFailedError(f"the server was not ready within {seconds:g} s")
        if requester_gone(0.05):
            raise SourceFailedError("nobody waits for the server any more")
