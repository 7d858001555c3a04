"""How databases find what is old among 10,000 threads of 1,000 owners."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import (
    Connection,
    LargeBinary,
    String,
    case,
    cast,
    insert,
    literal,
    select,
)

from tests.retention.helpers import AGE
from tests.support.databases import (
    create_schema,
    engines_of,
    on_connection,
)
from tests.support.many_rows import digits, fill_by, numbers
from tests.support.plans import Plan, Sent, analyze, explain, recorded, rows_read
from threadlog import Checkpointer
from threadlog.log import retention
from threadlog.log.retention import Pruning
from threadlog.models import CONTROL, MESSAGES, SEARCH
from threadlog.models import tables as of

_OWNERS: Final = 1_000
_OLD: Final = datetime(2026, 1, 1, tzinfo=UTC)


def _fill(connection: Connection) -> None:
    """Store threads of five messages, of which every tenth is old, ten of each owner."""
    digit = digits()
    number = numbers(digit, 4)
    thread = literal("t").concat(cast(number, String(9)))
    owner = literal("o").concat(cast(number % _OWNERS, String(9)))
    time = of.THREADS.c.updated_at.type
    now = datetime.now(UTC)
    updated_at = case((number % 10 == 0, literal(_OLD, time)), else_=literal(now, time))
    threads = ["thread_id", "updated_at"]
    connection.execute(insert(of.THREADS).from_select(threads, select(thread, updated_at)))
    owners = select(thread, owner)
    connection.execute(insert(of.OWNERS).from_select(["thread_id", "owner"], owners))
    seqs = digit.alias("seqs")
    given = (literal("user"), literal({}, of.MESSAGES.c.metadata.type), literal(b"x", LargeBinary))
    rows = select(thread, seqs.c.d + 1, *given).where(seqs.c.d < 5)
    columns = ["thread_id", "seq", "role", "metadata", "payload"]
    connection.execute(insert(of.MESSAGES).from_select(columns, rows))


async def _create(url: str) -> str:
    for part in (MESSAGES, CONTROL, SEARCH):
        await on_connection(url, partial(create_schema, part=part))
    await fill_by(url, _fill)
    names = [table.name for table in (of.THREADS, of.OWNERS, of.MESSAGES, of.RUNS)]
    await on_connection(url, lambda connection: analyze(connection, *names))
    return url


@pytest.fixture(scope="module")
def many_url(module_url: str) -> str:
    """Return the URL of a database with many threads."""
    return asyncio.run(_create(module_url))


async def _sent(url: str, *, steps: int = 1, **options: Any) -> Sent:
    """Return the statements of the first transactions of a run."""
    pruning = Pruning(AGE, **options)
    async with Checkpointer(url) as checkpointer:
        await checkpointer.list_threads(limit=1)  # whatever is asked once is asked by now
        with recorded(engines_of(checkpointer)) as sent:
            assert await checkpointer.client.write(pruning.count) > 0
            for _ in range(steps):
                await checkpointer.client.write(pruning.step)
    assert pruning.summary.messages > 0
    return [each for each in sent if "cubepi_" in each[0] or "threadlog_" in each[0]]


async def _plans(url: str, sent: Sent) -> list[Plan]:
    return await on_connection(url, lambda connection: explain(connection, sent, small=True))


def _assert_by_index(plans: list[Plan]) -> None:
    for plan in plans:
        for step in plan.steps:
            if step.table == "CONSTANT":
                continue
            assert step.key is not None, plan
            assert not step.whole, plan
            assert len(step.partitions) <= 1, plan


@pytest.mark.parametrize("options", [{}, {"keep_last": 2}, {"dry_run": True}], ids=str)
async def test_old_threads_are_found_and_pruned_by_indexes(
    many_url: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_THREADS", 20)
    sent = await _sent(many_url, **options)
    plans = await _plans(many_url, sent)
    assert len(plans) >= 4
    _assert_by_index(plans)
    pages = [plan for plan in plans if "ORDER BY cubepi_threads.updated_at" in plan.statement]
    assert {step.key for plan in pages for step in plan.steps if "threads" in step.table} == {
        "ix_cubepi_threads_recent"
    }
    assert not any(plan.sorts for plan in pages), pages
    if many_url.startswith(("mysql", "mariadb")):
        reads = [each for each in sent if each[0].lstrip().startswith("SELECT")]
        read = await on_connection(many_url, lambda c: [rows_read(c, *each) for each in reads])
        print("rows read:", read)
        assert max(read[1:]) < 200  # the first counts 1,000 threads


async def test_an_owners_old_threads_are_found_by_the_owners_index(
    many_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_THREADS", 3)
    sent = await _sent(many_url, owner="o10", keep_last=1)
    plans = await _plans(many_url, sent)
    _assert_by_index(plans)
    owned = [step for plan in plans for step in plan.steps if step.table == "threadlog_owners"]
    assert [step.key for step in owned] == ["ix_threadlog_owners_owner"] * 2
