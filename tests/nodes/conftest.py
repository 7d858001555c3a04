"""Groups of three real servers."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from tests.support.databases import create_database
from tests.support.servers.group import Node, catch_up, nodes_of
from tests.support.servers.process import data_folder_of
from tests.support.servers.products import MYSQL
from tests.support.servers.server import own_program
from tests.support.servers.supervisor import supervised

DATABASE = "threadlog"


@pytest.fixture
def seed() -> int:
    """Return the seed of a test's randomness, which THREADLOG_SEED repeats."""
    return int(os.environ.get("THREADLOG_SEED") or random.randrange(2**32))


@pytest.fixture
def single_primary() -> Iterator[list[Node]]:
    """Run a group of which one member takes writes, with threadlog's schema."""
    with _group(multi_primary=False) as nodes:
        yield nodes


@pytest.fixture
def multi_primary() -> Iterator[list[Node]]:
    """Run a group of which every member takes writes, with threadlog's schema."""
    with _group(multi_primary=True) as nodes:
        yield nodes


@contextmanager
def _group(*, multi_primary: bool) -> Iterator[list[Node]]:
    program = own_program(MYSQL)
    data = str(data_folder_of(MYSQL, program))
    with supervised(
        "group", command=program.command, data=data, durable=True, multi_primary=multi_primary
    ) as report:
        nodes = nodes_of(report)
        asyncio.run(create_database(nodes[0].url, DATABASE))
        catch_up(nodes)
        yield nodes


def url_of(nodes: list[Node]) -> str:
    """Return the URL of the database on all nodes."""
    user = make_url(nodes[0].url).username
    return f"mysql://{user}@{','.join(node.address for node in nodes)}/{DATABASE}"
