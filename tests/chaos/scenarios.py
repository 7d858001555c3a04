"""The faults that are injected while eight processes of four tasks work on the same threads.

A scenario returns a short text on how much it broke. Half of the processes use a `Checkpointer`,
the others a `SyncCheckpointer` on threads.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from tests.chaos.stage import SESSIONS, Stage
from tests.support.commits import kill_connection
from tests.support.databases import engine_for
from tests.support.servers.product import HOST
from tests.support.servers.proxy import Proxy

Scenario = Callable[[Stage], Awaitable[str]]

# Shorter than the defaults, so that a run is not spent waiting.
_HASTY: Final = "read_timeout=3&connect_timeout=2&pool_timeout=20"

# A server that waits for room looks for it once a minute.
_LOOKS_AGAIN_SECONDS: Final = 150


async def cancellation(stage: Stage) -> str:
    """Cancel a third of the calls of asyncio tasks after up to 20 ms."""
    await stage.start_all(cancel=0.3)
    await asyncio.sleep(4 if stage.quick else 60)
    return "a third of the asynchronous calls cancelled"


async def kill_connections(stage: Stage) -> str:
    """End connections of the workers, at random moments and while they commit."""
    await stage.start_all()
    engine = engine_for(stage.url, isolation_level="AUTOCOMMIT")
    working = SESSIONS[engine.dialect.name]
    killed = committing = 0
    ends = time.monotonic() + (4 if stage.quick else 60)
    async with engine.connect() as connection:
        while time.monotonic() < ends:
            # Every other time one that commits just now, which takes some looks to find.
            for _ in range(stage.dice.choice([1, 40])):
                rows: list[Any] = list(await connection.exec_driver_sql(working))
                some = [row for row in rows if row[1]] or rows
                if any(row[1] for row in some):
                    break
            if some:
                row = stage.dice.choice(some)
                with suppress(DBAPIError):  # gone already
                    await kill_connection(connection, row[0])
                    killed += 1
                    committing += bool(row[1])
            await asyncio.sleep(stage.dice.random() * 0.05)
    await engine.dispose()
    return f"{killed} connections killed, {committing} of them in COMMIT"


async def kill_server(stage: Stage) -> str:
    """Kill the server with SIGKILL, again and again; something starts it again."""
    await stage.start_all()
    times, away = 2 if stage.quick else 20, 0.0
    for _ in range(times):
        await asyncio.sleep(0.5 + stage.dice.random() * 2)
        begun = time.monotonic()
        await stage.server.kill()
        away += time.monotonic() - begun
    await asyncio.sleep(1)
    return f"server killed {times} times, away {away / times:.1f} s each time"


async def break_network(stage: Stage) -> str:
    """Stall, cut, half-close and forget what passes between workers and server."""
    broken = {"stalled": 0, "cut": 0, "half-closed": 0, "forgotten": 0}
    async with Proxy(stage.server.port) as proxy:
        through = make_url(stage.url).set(host=HOST, port=proxy.port)
        await stage.start_all(url=f"{through.render_as_string(hide_password=False)}?{_HASTY}")
        ends = time.monotonic() + (8 if stage.quick else 90)
        while time.monotonic() < ends:
            await asyncio.sleep(stage.dice.random())
            kind = stage.dice.choice(list(broken))
            broken[kind] += 1
            await _break(proxy, kind, stage.dice.choice([0.1, 1.0, 4.0]))
        proxy.resume()
        await stage.end()
    return ", ".join(f"{kind} {count} times" for kind, count in broken.items())


async def _break(proxy: Proxy, kind: str, seconds: float) -> None:
    match kind:
        case "cut":
            proxy.cut()
        case "half-closed":
            proxy.half_close()
        case "forgotten":
            proxy.forget()
        case "stalled":
            proxy.stall()
            await asyncio.sleep(seconds)
            proxy.resume()


async def kill_clients(stage: Stage) -> str:
    """Kill workers with SIGKILL at random moments, and start others in their place."""
    await stage.start_all()
    times = 4 if stage.quick else 60
    for _ in range(times):
        await asyncio.sleep(stage.dice.random() * 0.6)
        victim = stage.dice.choice(stage.workers)
        stage.workers.remove(victim)
        victim.kill()
        await victim.communicate(b"")
        await stage.start()
    await asyncio.sleep(1)
    return f"{times} processes killed"


class _Switch(NamedTuple):
    """Statements that make a server refuse to write, and let it again."""

    before: tuple[str, ...]
    on: tuple[str, ...]
    off: tuple[str, ...]
    after: tuple[str, ...]


_READ_ONLY: Final = {
    # SET waits for transactions that wait for rows of others that wait for SET: the server
    # sees no deadlock there, and only the limit for row locks (50 s) ends it.
    "mysql": _Switch(
        before=("SET GLOBAL innodb_lock_wait_timeout = 1",),
        on=("SET GLOBAL super_read_only = ON",),
        off=("SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"),
        after=("SET GLOBAL innodb_lock_wait_timeout = 50",),
    ),
    "postgres": _Switch(
        before=(),
        on=("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
        off=("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"),
        after=(),
    ),
}


async def read_only(stage: Stage) -> str:
    """Forbid writing for a moment, again and again."""
    statements = _READ_ONLY[stage.server.product.name]
    await _each(stage, statements.before)
    await stage.start_all()
    times = 2 if stage.quick else 15
    for _ in range(times):
        await asyncio.sleep(0.5 + stage.dice.random())
        await _each(stage, statements.on)
        await asyncio.sleep(stage.dice.random())
        await _each(stage, statements.off)
    await _each(stage, statements.after)
    return f"read-only {times} times"


async def _each(stage: Stage, statements: Sequence[str]) -> None:
    """Execute statements that are the server's own affair, not of a transaction."""
    engine = engine_for(stage.url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await engine.dispose()


async def full_disk(stage: Stage) -> str:
    """Fill the disk until appends fail, or wait for room; then make room.

    MySQL refuses what finds no room in a table, and lets wait what finds none in the binary
    log, where it looks again each minute.
    """
    await stage.start_all(bytes=4_000)
    times = 1 if stage.quick else 6
    refused = waited = 0
    for _ in range(times):
        before = _refused(stage)
        with _ballast(stage.server.data_folder):
            stood_still = await _until_full(stage, before + 20)
        waited += stood_still
        refused += _refused(stage) - before
        await _until_it_goes_on(stage)
    assert refused or waited, "the disk was never full"
    return f"disk full {times} times, {refused} calls refused, all waited {waited} times"


async def _until_full(stage: Stage, refused: int) -> bool:
    """Wait for refusals, at most 20 s, or until nothing progresses; return True for the latter."""
    ends = time.monotonic() + 20
    while _refused(stage) < refused and time.monotonic() < ends:
        before = stage.journal.stat().st_size
        await asyncio.sleep(3)
        if stage.journal.stat().st_size == before:
            return True
    return False


async def _until_it_goes_on(stage: Stage) -> None:
    before = _stored(stage)
    async with asyncio.timeout(_LOOKS_AGAIN_SECONDS):
        while _stored(stage) < before + 20:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.2)


def _stored(stage: Stage) -> int:
    return stage.journal.read_text(encoding="utf-8").count('"event": "appended"')


def _refused(stage: Stage) -> int:
    return stage.journal.read_text(encoding="utf-8").count('"event": "error"')


@contextmanager
def _ballast(folder: Path) -> Iterator[None]:
    """Fill the free space of a file system that contains nothing else."""
    file = folder.parent / "ballast"
    with file.open("wb") as ballast:
        taken, some = 0, 2**30
        while some >= 4096:
            try:
                os.posix_fallocate(ballast.fileno(), taken, some)
                taken += some
            except OSError:  # not as much as that
                some //= 2
    try:
        yield
    finally:
        file.unlink()


SCENARIOS: Final[dict[str, Scenario]] = {
    "cancellation": cancellation,
    "kill-connections": kill_connections,
    "kill-server": kill_server,
    "break-network": break_network,
    "kill-clients": kill_clients,
    "read-only": read_only,
    "full-disk": full_disk,
}

DATABASES: Final = {"read-only": ("mysql", "postgres"), "full-disk": ("mysql",)}
"""The servers that a scenario is for, where it is not for all."""
