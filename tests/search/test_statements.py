"""The statements of appends to a database with the search index: at most one more."""

import asyncio
import re

import pytest

from tests.search.helpers import answer, question
from tests.support.counting import StatementCount
from tests.support.databases import on_connection, sent_by
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.models import SEARCH


@pytest.mark.parametrize("indexed", [False, True])
async def test_append_is_at_most_one_statement_more(
    server_url: str, count: StatementCount, *, indexed: bool
) -> None:
    if indexed:
        await on_connection(server_url, SEARCH.metadata.create_all)
    async with Checkpointer(server_url) as log:
        await log.append("t", UserFactory.build_batch(3))
        for number, mysql, postgresql in ((1, 2, 3), (8, 2, 3), (40, 3, 44)):

            async def append(number: int = number) -> None:
                await log.append("t", [answer() for _ in range(number)])

            await append()  # brings updated_at to this second
            figure = count.figure(mysql, mariadb=3, postgresql=postgresql)
            more = count.figure(1, postgresql=int(number > 8))  # a few are in the same statement
            assert await count.of(append) == figure + more * indexed


@pytest.mark.parametrize("indexed", [False, True])
async def test_appends_together_are_one_statement_more(server_url: str, *, indexed: bool) -> None:
    if indexed:
        await on_connection(server_url, SEARCH.metadata.create_all)
    async with Checkpointer(server_url, max_pool_size=1) as log:
        await asyncio.gather(*(log.append(f"t{n}", [question()]) for n in range(5)))
        sent = sent_by(log)
        await asyncio.gather(*(log.append(f"t{n}", [answer()]) for n in range(5)))
    inserts = [table for each in sent for table in re.findall(r"INSERT INTO (\w+)", each)]
    assert inserts.count("cubepi_messages") == 2  # the first goes alone
    assert inserts.count("threadlog_search") == 2 * indexed
