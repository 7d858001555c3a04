"""How databases find an owner's threads among 100,000 of 10,000 owners."""

import asyncio
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import (
    Connection,
    String,
    case,
    cast,
    insert,
    literal,
    select,
)

from tests.support.databases import (
    create_schema,
    engines_of,
    on_connection,
)
from tests.support.many_rows import digits, fill_by, numbers
from tests.support.plans import Plan, analyze, explain, recorded, rows_read
from threadlog import Checkpointer
from threadlog.models import CONTROL, MESSAGES
from threadlog.models.tables import OWNERS, THREADS

_OWNERS: Final = 10_000
_INDEX: Final = "ix_threadlog_owners_owner"


def _fill(connection: Connection) -> None:
    """Store the threads, ten of each owner; every 97th of all waits for an answer."""
    number = numbers(digits(), 5)
    thread = literal("t").concat(cast(number, String(9)))
    owner = literal("o").concat(cast(number % _OWNERS, String(9)))
    question = literal({"question_id": "q"}, THREADS.c.pending_request.type)
    rows = select(thread, case((number % 97 == 0, question)))
    owners = select(thread, owner)
    connection.execute(insert(THREADS).from_select(["thread_id", "pending_request"], rows))
    connection.execute(insert(OWNERS).from_select(["thread_id", "owner"], owners))


async def _create(url: str) -> str:
    for part in (MESSAGES, CONTROL):
        await on_connection(url, partial(create_schema, part=part))
    await fill_by(url, _fill)
    await on_connection(url, lambda connection: analyze(connection, THREADS.name, OWNERS.name))
    return url


@pytest.fixture(scope="module")
def many_url(module_url: str) -> str:
    """Return the URL of a database with many threads."""
    return asyncio.run(_create(module_url))


OF_OWNER: Final[list[dict[str, Any]]] = [
    {"owner": "o4321"},
    {"owner": "o4321", "order": "recent"},
    {"owner": "o0", "waiting": True},
    {"owner": "o0", "waiting": True, "order": "recent"},
]


async def _plans(url: str, **options: Any) -> tuple[list[str], list[Plan], list[int]]:
    """Return what is listed on two pages, how, and how many rows MySQL and MariaDB read."""
    async with Checkpointer(url) as checkpointer:
        with recorded(engines_of(checkpointer)) as sent:
            first = await checkpointer.list_threads(limit=7, **options)
            found = first + await checkpointer.list_threads(limit=7, after=first[-1], **options)
    pages = [
        each for each in sent if "FROM threadlog_owners" in each[0] or "SELECT cubepi_th" in each[0]
    ]
    assert len(pages) == 2
    plans = await on_connection(url, lambda connection: explain(connection, pages))
    read = []
    if url.startswith(("mysql", "mariadb")):
        read = await on_connection(url, lambda c: [rows_read(c, *page) for page in pages])
    return [thread.thread_id for thread in found], plans, read


@pytest.mark.parametrize("options", OF_OWNER, ids=lambda options: "-".join(map(str, options)))
async def test_an_owners_threads_are_found_by_the_index(
    many_url: str, options: dict[str, Any]
) -> None:
    listed, plans, read = await _plans(many_url, **options)
    if "waiting" in options:
        assert listed == ["t0"]
    else:
        assert sorted(listed) == sorted(f"t{4321 + _OWNERS * n}" for n in range(10))
    for plan in plans:
        steps = {step.table: step for step in plan.steps}
        assert set(steps) == {"threadlog_owners", "cubepi_threads"}, plan
        assert steps["threadlog_owners"].key == _INDEX, plan
        assert not any(step.whole for step in plan.steps), plan
        if not many_url.startswith("postgres"):  # which may sort ten rows all the same
            assert plan.sorts is (options.get("order") == "recent"), plan
    print("rows read:", read)
    assert max(read, default=0) < 100


async def test_export_of_an_owner_reads_that_owners_rows_alone(many_url: str) -> None:
    async with Checkpointer(many_url) as checkpointer:
        with recorded(engines_of(checkpointer)) as sent:
            lines = [line async for line in checkpointer.scoped("o4321").export()]
    assert len(lines) == 2 + 2 * 10  # the thread, and its owner
    reads = [each for each in sent if "FROM threadlog_owners" in each[0] or "cubepi_t" in each[0]]
    assert len(reads) > 20
    for plan in await on_connection(many_url, lambda connection: explain(connection, reads)):
        # Other tables are empty, and may be scanned.
        steps = [
            s for s in plan.steps if s.table in {"cubepi_threads", "threadlog_owners", "scope"}
        ]
        assert not any(step.whole for step in steps), plan
    if many_url.startswith(("mysql", "mariadb")):
        read = await on_connection(many_url, lambda c: [rows_read(c, *each) for each in reads])
        assert max(read) < 100


async def test_all_threads_are_listed_in_the_order_of_an_index(many_url: str) -> None:
    for options in ({}, {"order": "recent"}):
        _, plans, read = await _plans(many_url, **options)
        for plan in plans:
            threads = [step for step in plan.steps if step.table == "cubepi_threads"]
            assert [step.key is not None for step in threads] == [True], plan
            assert not plan.sorts, plan
        print("rows read:", read)
        assert max(read, default=0) < 2_000
