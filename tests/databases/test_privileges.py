"""The privileges of a MySQL account at run time: four on the tables, or one for reading."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.databases import execute
from tests.support.factories import HitlRequestFactory, UserFactory
from tests.support.ways import host_engine
from threadlog import Checkpointer, MessageLog, SyncCheckpointer
from threadlog.errors import StorageError
from threadlog.models import cubepi_metadata


@contextmanager
def account(url: str, privileges: str) -> Iterator[str]:
    """Create an account that has only these privileges on the five tables.

    Gives the database's URL with the account in it.
    """
    name, password = f"tl_{uuid4().hex[:12]}", uuid4().hex
    grants = [
        f"GRANT {privileges} ON {make_url(url).database}.{table} TO '{name}'@'%'"
        for table in cubepi_metadata.tables
    ]
    asyncio.run(execute(url, f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'", *grants))
    try:
        limited = make_url(url).set(username=name, password=password)
        yield limited.render_as_string(hide_password=False)
    finally:
        asyncio.run(execute(url, f"DROP USER '{name}'@'%'"))


@pytest.fixture
def url_with(innodb_url: str) -> Iterator[Callable[[str], str]]:
    """Create accounts that exist during the test."""
    with ExitStack() as accounts:
        yield lambda privileges: accounts.enter_context(account(innodb_url, privileges))


async def use_everything(checkpointer: MessageLog, thread_id: str) -> None:
    """Call every verb that writes."""
    await checkpointer.claim_run(thread_id, "r")
    await checkpointer.append(thread_id, UserFactory.build_batch(2, run_id="r"))
    await checkpointer.save_extra(thread_id, {"a": 1})
    request = HitlRequestFactory(question_id="q")
    await checkpointer.save_pending_request(thread_id, request, run_id="r")
    await checkpointer.save_hitl_answer(thread_id, "q", "yes", run_id="r")
    assert await checkpointer.clear_pending_request_if_matches(
        thread_id, question_id="q", run_id="r"
    )
    await checkpointer.clear_hitl_answers(thread_id, run_id="r")
    await checkpointer.mark_run_complete(thread_id, "r")
    await checkpointer.claim_run(thread_id, "s")
    await checkpointer.release_run(thread_id, "s", older_than=timedelta(0))
    await checkpointer.fork(thread_id, f"{thread_id}/fork", after_run_id="r")
    assert await checkpointer.delete_thread(f"{thread_id}/fork")


@pytest.fixture
def writing_url(url_with: Callable[[str], str]) -> str:
    """Return the URL of an account that may write."""
    return url_with("SELECT, INSERT, UPDATE, DELETE")


@pytest.fixture
def reading_url(url_with: Callable[[str], str]) -> str:
    """Return the URL of an account that may only read."""
    return url_with("SELECT")


async def test_four_privileges_are_enough(writing_url: str) -> None:
    async with Checkpointer(writing_url) as checkpointer:
        await use_everything(checkpointer, "own")
    hosts = host_engine(writing_url)
    async with Checkpointer(engine=hosts) as checkpointer, AsyncSession(hosts) as session:
        await use_everything(checkpointer, "engine")
        await use_everything(checkpointer.bind(session), "session")
        await session.commit()
        listed = [thread.thread_id for thread in await checkpointer.list_threads()]
        assert listed == ["engine", "own", "session"]
    await hosts.dispose()


async def test_one_privilege_is_enough_to_read(innodb_url: str, reading_url: str) -> None:
    async with Checkpointer(innodb_url) as owner:
        await owner.claim_run("t", "r")
        await owner.append("t", [UserFactory(run_id="r")])
        await owner.mark_run_complete("t", "r")
        await owner.save_pending_request("t", HitlRequestFactory(), run_id="r")
        await owner.save_hitl_answer("t", "q", "yes")
    async with Checkpointer(reading_url) as reader:
        data = await reader.load("t", last=5)
        assert data is not None
        assert len(data.messages) == 1
        assert len(await reader.read("t")) == 1
        assert [s.seq async for s in reader.stream("t")] == [1]
        assert [thread.last_seq for thread in await reader.list_threads(order="recent")] == [1]
        assert [run.state for run in await reader.runs("t")] == ["completed"]
        assert await reader.stale_runs(timedelta(0)) == []
        assert len(await reader.snapshot("t", after_run_id="r")) == 1
        assert await reader.load_pending_run_id("t") == "r"
        assert await reader.load_hitl_answer("t", "q") == "yes"
        with pytest.raises(StorageError, match="denied"):
            await reader.append("t", [UserFactory()])
    with SyncCheckpointer(reading_url) as plain:
        assert plain.load("t") is not None
