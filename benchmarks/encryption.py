"""Measure what encryption costs, beside the same calls without it.

Run it with ``python -m benchmarks.encryption [URL]``. The URL names a server; SQLite is used if it
is left out. Calls with and without encryption alternate, so that what slows the machine down meets
both alike. The figure is the ratio of the medians.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final

from sqlalchemy import Connection

from tests.support.databases import create_schema, fresh_database, on_connection
from threadlog import Checkpointer
from threadlog.encryption import Encryption
from threadlog.messages import TextContent, UserMessage
from threadlog.models import CONTROL, MESSAGES

_LOADED: Final = 60
_TIMES: Final = 400
_MESSAGE: Final = UserMessage(content=[TextContent(text="Where is my parcel? It is late. " * 20)])

_CALLS: Final[dict[str, Callable[[Checkpointer], Awaitable[Any]]]] = {
    "append 1 message": lambda log: log.append("appended", [_MESSAGE]),
    f"load {_LOADED} messages": lambda log: log.load("loaded"),
    "save_extra": lambda log: log.save_extra("extra", {"at": time.monotonic()}),
}


async def measure(plain_url: str, encrypted_url: str) -> None:
    """Print the ratio for each call."""
    encryption = Encryption(key_id=lambda owner: "k", key=lambda key_id: bytes(32))
    async with (
        Checkpointer(plain_url) as plain,
        Checkpointer(encrypted_url, encryption=encryption) as encrypted,
    ):
        both = (plain, encrypted)
        for log in both:
            await log.append("loaded", [_MESSAGE] * _LOADED)
        for name, call in _CALLS.items():
            seconds: tuple[list[float], list[float]] = ([], [])
            for turn in range(_TIMES):
                for log, found in zip(both, seconds, strict=True):
                    began = time.perf_counter()
                    await call(log)
                    if turn >= _TIMES // 10:  # warm
                        found.append(time.perf_counter() - began)
            before, after = map(median, seconds)
            print(f"{name}: {1000 * before:.2f} ms, {1000 * after:.2f} ms, {after / before:.2f}")


def _create(connection: Connection) -> None:
    for part in (MESSAGES, CONTROL):
        create_schema(connection, part)


def main() -> None:
    """Measure on a server, or on two files of SQLite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    given = parser.parse_args().url
    if given is None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(f"sqlite:///{folder}/plain.db", f"sqlite:///{folder}/other.db"))
        return
    with fresh_database(given) as plain_url, fresh_database(given) as encrypted_url:
        for url in (plain_url, encrypted_url):
            asyncio.run(on_connection(url, _create))
        asyncio.run(measure(plain_url, encrypted_url))


if __name__ == "__main__":
    main()
