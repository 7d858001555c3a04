"""Copies of threads that were truncated, with their keys and owners."""

import pytest

from tests.support.databases import create_schema, execute, on_connection
from tests.support.ends import Ends
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.copying.copy import Copied, compare_databases, copy_database
from threadlog.errors import ConfigurationError, CopyEndError, ThreadOwnedError
from threadlog.messages import Message, UserMessage
from threadlog.models import CONTROL

SAID: list[Message] = [UserMessage(content=[], id="a"), UserMessage(content=[], id="b")]


async def fill(url: str) -> None:
    """Create a thread with an owner and a key, whose seqs 3 to 5 were removed."""
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("t", SAID, key="k", owner="ann")
        await checkpointer.append("t", UserFactory.build_batch(3))
        await checkpointer.truncate("t", after_seq=2, run_id="edit")
    await execute(url, "UPDATE cubepi_threads SET updated_at = '2026-01-02 03:04:05'")


async def copied(ends: Ends) -> Copied:
    """Copy the messages, without a fault."""
    (group,) = await copy_database(*ends)
    assert group.faults == []
    return group


async def add_control(ends: Ends) -> None:
    """Create the tables of thread control in both databases, unless they are there."""
    for url in ends:
        await on_connection(url, lambda c: create_schema(c, CONTROL))


async def test_a_copied_thread_allocates_no_removed_seq_and_knows_its_keys(ends: Ends) -> None:
    await add_control(ends)
    await fill(ends.source)
    group = await copied(ends)
    assert (group.copied, group.rows) == (1, 6)
    async with Checkpointer(ends.source) as source, Checkpointer(ends.target) as target:
        assert await target.truncations("t") == await source.truncations("t")
        assert len(await target.truncations("t")) == 1
    group = await copied(ends)
    assert (group.copied, group.unchanged, group.rows) == (0, 1, 0)
    (compared,) = await compare_databases(*ends)
    assert compared.faults == []
    async with Checkpointer(ends.target) as target:
        assert await target.append("t", SAID, key="k", owner="ann") == [1, 2]
        with pytest.raises(ThreadOwnedError):
            await target.append("t", SAID, owner="bob")
        assert await target.append("t", [UserFactory()]) == [6]


async def test_keys_that_the_source_pruned_are_no_difference(ends: Ends) -> None:
    await add_control(ends)
    await fill(ends.source)
    await copied(ends)
    await execute(ends.source, "DELETE FROM threadlog_append_keys")
    group = await copied(ends)
    assert (group.unchanged, group.rows) == (1, 0)
    async with Checkpointer(ends.source) as source:
        assert await source.append("t", SAID, key="k") == [6, 7]  # stored again, as documented
    await execute(ends.source, "UPDATE cubepi_threads SET updated_at = '2026-02-02 03:04:05'")
    group = await copied(ends)
    assert group.copied == 1
    async with Checkpointer(ends.target) as target:
        assert await target.append("t", SAID, key="k") == [6, 7]


async def test_a_thread_that_was_truncated_since_it_was_copied_is_a_conflict(ends: Ends) -> None:
    """No message of the target is deleted."""
    await add_control(ends)
    await fill(ends.source)
    await copied(ends)
    async with Checkpointer(ends.source) as source:
        await source.truncate("t", after_seq=1)
    await execute(ends.source, "UPDATE cubepi_threads SET updated_at = '2026-02-02 03:04:05'")
    (group,) = await copy_database(*ends)
    (fault,) = group.faults
    assert (fault.thread_id, fault.kind) == ("t", "conflict")
    assert fault.reasons == ["cubepi_messages seq 2 is only in the target"]
    async with Checkpointer(ends.target) as target:
        assert [s.seq for s in await target.read("t")] == [1, 2]
        assert await target.delete_thread("t")
    await copied(ends)
    async with Checkpointer(ends.target) as target:
        assert [s.seq for s in await target.read("t")] == [1]
        assert await target.append("t", [UserFactory()]) == [6]


@pytest.mark.mysql
async def test_a_target_without_thread_control_is_refused_only_if_it_is_needed(
    sqlite_url: str, mysql_database: str
) -> None:
    await on_connection(mysql_database, create_schema)
    async with Checkpointer(sqlite_url) as source:
        await source.append("t", [UserFactory()])
    await execute(sqlite_url, "UPDATE cubepi_threads SET updated_at = '2026-01-02 03:04:05'")
    ends = Ends(sqlite_url, mysql_database)
    assert (await copied(ends)).copied == 1
    async with Checkpointer(sqlite_url) as source:
        await source.append("t", [UserFactory()], key="k")
    with pytest.raises(CopyEndError, match="append keys and truncations") as caught:
        await copy_database(*ends)
    assert caught.value.end == "target"


async def test_thread_control_is_not_copied_alone(sqlite_url: str, second_sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url):
        pass
    with pytest.raises(ConfigurationError, match="--part messages"):
        await copy_database(sqlite_url, second_sqlite_url, part="control")
