"""Conversations that are imported again after messages were removed."""

import pytest

from tests.retention.helpers import AGE, age
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.errors import ConversationError
from threadlog.importing.import_log import Conversation, import_into, parse_conversation


def _imported(name: str = "t", *texts: str) -> Conversation:
    messages = [{"role": "user", "content": said} for said in texts or ("a", "b", "c")]
    line = {"messages": messages} if name == "file:1" else {"thread_id": name, "messages": messages}
    return parse_conversation(line, name)


@pytest.mark.parametrize("after_seq", [0, 1])
@pytest.mark.parametrize("then", ["nothing", "edited"])
async def test_an_import_brings_no_removed_message_back(
    database_url: str, after_seq: int, then: str
) -> None:
    """Nor as another thread, which a conversation without an id would get."""
    async with Checkpointer(database_url) as checkpointer:
        for name in ("t", "file:1"):
            assert await import_into(checkpointer, _imported(name)) == 3
            await checkpointer.truncate(name, after_seq=after_seq)
            if then == "edited":
                await checkpointer.append(name, [UserFactory()])
            before = await checkpointer.read(name)
            assert await import_into(checkpointer, _imported(name)) == 0
            assert await import_into(checkpointer, _imported(name, *"abcd")) == 0
            assert await checkpointer.read(name) == before
        threads = [thread.thread_id for thread in await checkpointer.list_threads()]
        assert threads == ["file:1", "t"]


async def test_an_import_of_another_conversation_into_a_truncated_thread_is_refused(
    database_url: str,
) -> None:
    async with Checkpointer(database_url) as checkpointer:
        await import_into(checkpointer, _imported())
        await checkpointer.truncate("t", after_seq=1)
        with pytest.raises(ConversationError, match="already contains another conversation"):
            await import_into(checkpointer, _imported("t", "x", "b", "c"))
        await checkpointer.delete_thread("t")
        assert await import_into(checkpointer, _imported()) == 3


@pytest.mark.parametrize("texts", ["abc", "aaa"])
async def test_an_import_brings_no_pruned_message_back(sqlite_url: str, texts: str) -> None:
    """Nor a stored one a second time, where the conversation repeats itself."""
    async with Checkpointer(sqlite_url) as checkpointer:
        for name in ("t", "file:1"):
            await import_into(checkpointer, _imported(name, *texts))
        await age(sqlite_url)
        assert (await checkpointer.prune_older_than(AGE, keep_last=1)).messages == 4
        for name in ("t", "file:1"):
            assert await import_into(checkpointer, _imported(name, *texts)) == 0
            assert await import_into(checkpointer, _imported(name, *texts, "d")) == 1
            assert [stored.seq for stored in await checkpointer.read(name)] == [3, 4]
        threads = [thread.thread_id for thread in await checkpointer.list_threads()]
        assert threads == ["file:1", "t"]


async def test_an_import_of_another_conversation_into_a_pruned_thread_is_refused(
    sqlite_url: str,
) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        await import_into(checkpointer, _imported("t", *"abc"))
        await checkpointer.append("t", [UserFactory()])
        await age(sqlite_url)
        await checkpointer.prune_older_than(AGE, keep_last=2)
        with pytest.raises(ConversationError, match="already contains another conversation"):
            await import_into(checkpointer, _imported("t", *"abx"))
        await age(sqlite_url)
        await checkpointer.prune_older_than(AGE, keep_last=1)
        assert await import_into(checkpointer, _imported("t", *"abc")) == 0
