"""How databases find the threads that wait for a person: 21 of 50,000."""

import asyncio
from typing import Any, Final

import pytest
from sqlalchemy import (
    Connection,
    String,
    case,
    cast,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.orm import Session

from tests.support.databases import (
    create_schema,
    engines_of,
    on_connection,
)
from tests.support.many_rows import digits, fill_by, numbers
from tests.support.plans import Sent, analyze, explain, recorded, rows_read
from threadlog import Checkpointer
from threadlog.models import Thread
from threadlog.models.dialects.ddl import WAITING_INDEX
from threadlog.models.tables import THREADS

_THREADS: Final = 50_000
_WAITING: Final = [f"t{number}" for number in range(0, _THREADS, 2_400)]


def _fill(connection: Connection) -> None:
    number = numbers(digits(), 5)
    thread = literal("t").concat(cast(number, String(9)))
    question = literal({"question_id": "q"}, THREADS.c.pending_request.type)
    rows = select(thread, case((number % 2_400 == 0, question))).where(number < _THREADS)
    connection.execute(insert(THREADS).from_select(["thread_id", "pending_request"], rows))


async def _create(url: str) -> str:
    await on_connection(url, create_schema)
    await fill_by(url, _fill)
    return url


@pytest.fixture(scope="module")
def many_url(module_url: str) -> str:
    """Return the URL of a database with many threads, of which few wait."""
    return asyncio.run(_create(module_url))


async def _pages(url: str, **options: Any) -> tuple[list[str], Sent]:
    """List the waiting threads page by page; return their ids and what was sent for the pages."""
    found: list[str] = []
    async with Checkpointer(url) as checkpointer:
        with recorded(engines_of(checkpointer)) as sent:
            after = None
            while page := await checkpointer.list_threads(
                waiting=True, limit=8, after=after, **options
            ):
                after = page[-1]
                found += [thread.thread_id for thread in page]
    return found, [each for each in sent if "FROM cubepi_threads" in each[0]]


async def _assert_few_are_read(url: str, sent: Sent) -> None:
    plans = await on_connection(url, lambda connection: explain(connection, sent))
    for plan in plans:
        steps = [step for step in plan.steps if step.table == THREADS.name]
        assert [step.key for step in steps] == [WAITING_INDEX], plan
    if url.startswith(("mysql", "mariadb")):
        read = await on_connection(url, lambda c: [rows_read(c, *page) for page in sent])
        print("rows read:", read)
        assert max(read) < 100


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("order", ["id", "recent"])
async def test_waiting_threads_are_listed_by_their_index(
    many_url: str, order: str, *, analyzed: bool
) -> None:
    """Also before there are statistics, which only SQLite never gets by itself."""
    if analyzed or many_url.startswith("postgresql"):
        await on_connection(many_url, lambda connection: analyze(connection, THREADS.name))
    found, pages = await _pages(many_url, order=order)
    assert sorted(found) == sorted(_WAITING)
    assert found == sorted(_WAITING, reverse=order == "recent")  # all of one second or so
    assert len(pages) >= 3
    await _assert_few_are_read(many_url, pages)


async def test_the_condition_of_the_models_uses_the_index(many_url: str) -> None:
    """A query of the application's own, with the index that a page uses."""
    waiting = select(Thread.thread_id).where(Thread.waiting).order_by(Thread.updated_at)
    others = select(func.count()).select_from(Thread).where(~Thread.waiting)
    sent: Sent = []

    def look(connection: Connection) -> list[str]:
        with Session(connection) as session, recorded([connection.engine]) as of_session:
            found = list(session.scalars(waiting))
            sent.extend(of_session)
            assert session.scalar(others) == _THREADS - len(_WAITING)
        return found

    found = await on_connection(many_url, look)
    assert sorted(found) == sorted(_WAITING)
    assert len(sent) == 1
    await _assert_few_are_read(many_url, sent)


async def test_waiting_threads_are_listed_without_the_index(many_url: str) -> None:
    """A database of the framework's own has none until `threadlog migrate` adds it."""
    of_table = f" ON {THREADS.name}" if many_url.startswith(("mysql", "mariadb")) else ""

    def drop(connection: Connection) -> None:
        connection.exec_driver_sql(f"DROP INDEX {WAITING_INDEX}{of_table}")

    await on_connection(many_url, drop)
    for order in ("id", "recent"):
        found, _ = await _pages(many_url, order=order)
        assert sorted(found) == sorted(_WAITING)
