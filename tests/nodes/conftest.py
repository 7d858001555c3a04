"""Groups of three real servers."""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from tests.servers.debian import program_from_debian
from tests.servers.error import SourceFailedError
from tests.servers.group import Node, catch_up, nodes_of
from tests.servers.mysql import create_database
from tests.servers.mysqld import data_folder_of
from tests.servers.program import Program, program_on_path
from tests.servers.supervisor import supervised

DATABASE = "threadlog"


@pytest.fixture
def seed() -> int:
    """Give the seed of a test's randomness, which THREADLOG_SEED repeats."""
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
    program = _program()
    data = str(data_folder_of(program))
    with supervised(
        "group", command=program.command, data=data, durable=True, multi_primary=multi_primary
    ) as report:
        nodes = nodes_of(report)
        asyncio.run(create_database(nodes[0].url, DATABASE))
        catch_up(nodes)
        yield nodes


def _program() -> Program:
    try:
        return program_on_path()
    except SourceFailedError:
        return program_from_debian()


def url_of(nodes: list[Node]) -> str:
    """Give the URL of the database on all of them."""
    user = make_url(nodes[0].url).username
    return f"mysql://{user}@{','.join(node.address for node in nodes)}/{DATABASE}"
