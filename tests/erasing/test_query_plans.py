"""How databases find the rows of an owner and of a thread: by an index, in every table."""

import asyncio
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.engine import make_url

from tests.erasing.contents import TABLES, fill, row_of
from tests.support.databases import (
    create_schema,
    engines_of,
    on_connection,
)
from tests.support.plans import Plan, analyze, explain, recorded
from threadlog import Checkpointer
from threadlog.models import ALL_PARTS

OTHERS: Final = 1_000
VERSIONS: Final = {part.version_table.name for part in ALL_PARTS}


def _fill_others(connection: Connection) -> None:
    ids = [(uuid4(), f"other{number}") for number in range(OTHERS)]
    for table in TABLES:
        connection.execute(insert(table), [row_of(table, *each) for each in ids])
    for number in range(3):
        fill(connection, uuid4(), f"mine{number}")


async def _create(url: str) -> str:
    for part in ALL_PARTS:
        await on_connection(url, partial(create_schema, part=part))
    await on_connection(url, _fill_others)
    names = [table.name for table in TABLES]
    await on_connection(url, lambda connection: analyze(connection, *names))
    return url


@pytest.fixture(scope="module")
def many_url(module_url: str) -> str:
    """Return the URL of a database with many threads in all parts."""
    return asyncio.run(_create(module_url))


def _plans(sent: Any, connection: Connection) -> list[Plan]:
    """Return the plans of the statements on threadlog's tables."""
    names = [table.name for table in TABLES]
    ours = [
        each
        for each in sent
        if each[0].startswith(("SELECT", "DELETE", "UPDATE"))
        and any(name in each[0] for name in names)
        and not any(name in each[0] for name in VERSIONS)
    ]
    return explain(connection, ours, small=True)


@pytest.mark.parametrize("dry_run", [True, False], ids=["counting", "erasing"])
async def test_rows_of_an_owner_are_found_by_indexes(many_url: str, *, dry_run: bool) -> None:
    owner = "mine0" if dry_run else "mine1"
    async with Checkpointer(many_url) as log:
        with recorded(engines_of(log)) as sent:
            erased = await log.erase_owner(owner, memories=[("users", owner)], dry_run=dry_run)
    assert min(erased.rows.values()) == 1
    plans = await on_connection(many_url, partial(_plans, sent))
    read = {step.table for plan in plans for step in plan.steps}
    assert any(name.startswith("cubepi_messages") for name in read)
    whole = [
        plan.statement
        for plan in plans
        if any(step.whole for step in plan.steps if step.table != "CONSTANT")  # SQLite: no table
    ]
    if make_url(many_url).get_backend_name() == "sqlite":
        assert {table.name for table in TABLES} <= read
    assert whole == []
