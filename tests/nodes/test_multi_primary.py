"""A group of which every member takes writes, and writers that meet in one thread."""

import asyncio
import threading
from collections import Counter
from contextlib import AsyncExitStack

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext

from tests.nodes.conftest import url_of
from tests.nodes.writers import Record, Writer, examine
from tests.support.databases import engines_of
from tests.support.servers.group import Node
from threadlog import Checkpointer
from threadlog.databases.mysql.failover import error_code

WRITERS_OF_EACH = 2
BATCHES = 40


async def test_writers_of_one_thread_on_different_members(
    multi_primary: list[Node], seed: int
) -> None:
    """A transaction that the group's certification refuses is retried: no gap, nothing lost."""
    print(f"\nseed {seed}")
    record, errors = Record(), Counter[int | None]()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Checkpointer(url_of([node]))) for node in multi_primary
        ]
        for client in clients:
            _count_errors(client, errors)
        await asyncio.gather(
            *(
                Writer(f"w{n}.{m}", "t", seed, record, threading.Event(), BATCHES).run(client)
                for n, client in enumerate(clients)
                for m in range(WRITERS_OF_EACH)
            )
        )
        found = await examine(clients[0], ["t"], record)
    print(
        f"multi-primary, {WRITERS_OF_EACH} writers of one thread on each of "
        f"{len(clients)} members: "
        f"{found}, {len(record.failed)} appends failed, server errors run again: {dict(errors)}"
    )
    assert found.clean, found
    assert not record.failed, record.failed[0]
    assert errors, "the writers never met: nothing was tested"


def _count_errors(checkpointer: Checkpointer, errors: Counter[int | None]) -> None:
    def count(context: ExceptionContext) -> None:
        errors[error_code(context.original_exception)] += 1

    for engine in engines_of(checkpointer):
        event.listen(engine, "handle_error", count)
