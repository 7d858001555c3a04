"""Importing conversations: all of them, once, whatever happens meanwhile."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.conversations import FILES, conversations
from tests.support.databases import on_connection
from tests.support.processes import PythonProcess
from threadlog import Checkpointer
from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    ConversationError,
    InvalidIdError,
    InvalidJsonError,
    InvalidMessageError,
    TooLargeError,
)
from threadlog.formats import to_openai_chat
from threadlog.importing.import_log import Conversation, import_into, parse_conversation
from threadlog.messages import JsonObject, TextContent, UserMessage


def conversation(*texts: str, **extra: Any) -> Conversation:
    """Create a conversation of thread ``t`` with so many messages of a person."""
    messages = [{"role": "user", "content": said} for said in texts]
    line = {"thread_id": "t", "extra": extra, "messages": messages}
    return parse_conversation(line, "unused")


def lines(file: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def start_import(file: Path, url: str) -> PythonProcess:
    """Start an import in a process of its own."""
    return PythonProcess("-m", "threadlog", "import", str(file), "--url", url, "--json")


def comparable(messages: list[Any]) -> list[Any]:
    """Parse the arguments of tool calls, whose spelling does not matter."""
    for message in messages:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages


async def assert_holds(url: str, expected: list[dict[str, Any]]) -> None:
    """Assert that the database gives back exactly these conversations."""
    async with Checkpointer(url) as checkpointer:
        assert len(await checkpointer.list_threads(limit=1_000)) == len(expected)
        for line in expected:
            data = await checkpointer.load(line["thread_id"])
            assert data is not None
            system = data.extra.pop("system", None)
            assert data.extra == line["extra"]
            written: list[Any] = to_openai_chat(data.messages, system=system)
            assert comparable(written) == comparable(line["messages"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.processes
async def test_conversations_come_back_as_they_were(
    database_url: str, file: Path, tmp_path: Path
) -> None:
    file = conversations(file, tmp_path)
    for expected in ("imported", "unchanged"):
        output, errors = start_import(file, database_url).communicate()
        assert json.loads(output)[expected] == len(lines(file)), errors
        await assert_holds(database_url, lines(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.processes
async def test_two_imports_at_the_same_time_double_nothing(
    database_url: str, file: Path, tmp_path: Path
) -> None:
    """The import of one line is one unit of work, under the thread's lock."""
    file = conversations(file, tmp_path)
    processes = [start_import(file, database_url) for _ in range(2)]
    summaries = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        summaries.append(json.loads(output))
    stored = sum(
        len([message for message in line["messages"] if message["role"] != "system"])
        for line in lines(file)
    )
    assert sum(summary["messages"] for summary in summaries) == stored
    await assert_holds(database_url, lines(file))


@pytest.mark.processes
async def test_an_import_that_was_killed_is_completed_by_the_next(
    database_url: str, tmp_path: Path
) -> None:
    """A crash leaves whole conversations, and the next run the rest."""
    many = [
        {
            "thread_id": f"t{number}",
            "extra": {"n": number},
            "messages": [{"role": "user", "content": f"{place}"} for place in range(20)],
        }
        for number in range(300)
    ]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in many), encoding="utf-8")
    async with Checkpointer(database_url) as checkpointer:
        process = start_import(file, database_url)
        while len(found := await checkpointer.list_threads(limit=10)) < 10:
            assert process.poll() is None
        process.kill()
        process.communicate()
        found = await checkpointer.list_threads(limit=1_000)
    assert 10 <= len(found) < 300
    assert {summary.last_seq for summary in found} == {20}
    output, errors = start_import(file, database_url).communicate()
    assert json.loads(output)["unchanged"] == len(found), errors
    await assert_holds(database_url, many)


async def test_only_what_a_thread_lacks_is_appended(checkpointer: Checkpointer) -> None:
    """A file which grew adds its new messages, and the new extra."""
    assert await import_into(checkpointer, conversation("a", "b", state="open")) == 2
    assert await import_into(checkpointer, conversation("a", "b", "c", state="closed")) == 1
    assert [stored.seq for stored in await checkpointer.read("t")] == [1, 2, 3]
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == {"state": "closed"}


async def test_a_thread_that_was_continued_is_left_alone(checkpointer: Checkpointer) -> None:
    """A second import reverts none of the application's later changes."""
    await import_into(checkpointer, conversation("a", state="open"))
    await checkpointer.append("t", [UserMessage(content=[TextContent(text="b")])])
    await checkpointer.save_extra("t", {"state": "closed"})
    assert await import_into(checkpointer, conversation("a", state="open")) == 0
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == {"state": "closed"}
    assert len(data.messages) == 2


async def test_another_conversation_is_refused(checkpointer: Checkpointer) -> None:
    """Two conversations are never mixed, and nothing is written."""
    await import_into(checkpointer, conversation("a", "b", state="open"))
    with pytest.raises(ConversationError, match="already contains another conversation"):
        await import_into(checkpointer, conversation("a", "x", "c", state="closed"))
    data = await checkpointer.load("t")
    assert data is not None
    assert data.extra == {"state": "open"}
    assert len(data.messages) == 2


async def test_import_into_recognises_values_that_were_once_kept_by_their_own_names(
    checkpointer: Checkpointer,
) -> None:
    """Files that were imported before `threadlog.formats` are imported again without doubles."""
    metadata: JsonObject = {"reasoning": "b", "name": "ann"}
    older = UserMessage(content=[TextContent(text="a")], metadata=metadata)
    await checkpointer.append("t", [older])
    first = {"role": "user", "content": "a", "name": "ann", "reasoning": "b"}
    second = {"role": "assistant", "content": "c"}
    grown = parse_conversation({"thread_id": "t", "messages": [first, second]}, "")
    assert grown.messages[0] != older
    assert await import_into(checkpointer, grown) == 1
    other = parse_conversation({"thread_id": "t", "messages": [first | {"reasoning": "c"}]}, "")
    with pytest.raises(ConversationError, match="already contains another conversation"):
        await import_into(checkpointer, other)
    assert [stored.message for stored in await checkpointer.read("t", limit=1)] == [older]


async def test_import_into_of_two_files_of_one_name_keeps_them_apart(
    checkpointer: Checkpointer,
) -> None:
    files = [[{"role": "user", "content": said}] for said in ("a", "b")]
    for expected in ([1, 1], [0, 0]):
        found = [
            await import_into(checkpointer, parse_conversation(raw, "train:1")) for raw in files
        ]
        assert found == expected
    ids = sorted(thread.thread_id for thread in await checkpointer.list_threads())
    assert ids[0] == "train:1"
    assert re.fullmatch("train:1:[0-9a-f]{16}", ids[1])


async def test_metadata_that_was_edited_with_sql_does_not_matter(database_url: str) -> None:
    """The payload is compared, not the column that an application may edit."""
    async with Checkpointer(database_url) as checkpointer:
        await import_into(checkpointer, conversation("a"))
        statement = text("UPDATE cubepi_messages SET metadata = '{\"stars\": 5}'")
        await on_connection(database_url, lambda connection: connection.execute(statement) and None)
        assert await import_into(checkpointer, conversation("a", "b")) == 1


async def test_a_conversation_without_messages_makes_a_thread(checkpointer: Checkpointer) -> None:
    """Its extra is kept."""
    assert await import_into(checkpointer, conversation(state="new")) == 0
    data = await checkpointer.load("t")
    assert data is not None
    assert (data.extra, data.messages) == ({"state": "new"}, [])


async def test_a_bad_message_leaves_nothing_behind(checkpointer: Checkpointer) -> None:
    """A line goes in as a whole, and its errors count as the file does."""
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "\ud800"},
    ]
    bad = parse_conversation({"thread_id": "t", "messages": messages}, "")
    with pytest.raises(InvalidMessageError, match=r"messages\[2\]"):
        await import_into(checkpointer, bad)
    assert await checkpointer.load("t") is None


async def test_a_message_that_is_too_large_is_named_by_its_place(
    checkpointer: Checkpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place in the file is given, and nothing was written."""
    monkeypatch.setattr(checkpointer.client, "facts", DatabaseFacts(10_000))
    with pytest.raises(TooLargeError, match=r"messages\[1\]"):
        await import_into(checkpointer, conversation("a", "b" * 20_000))
    assert await checkpointer.load("t") is None


async def test_a_thread_id_that_cannot_be_a_key_is_refused(checkpointer: Checkpointer) -> None:
    """Ids of files are checked as any other."""
    with pytest.raises(InvalidIdError):
        await import_into(checkpointer, Conversation("ends in a space ", {}, [], 0))
    assert await checkpointer.list_threads() == []


def test_a_line_may_have_any_of_three_forms() -> None:
    messages = [{"role": "user", "content": "a"}]
    full = {"thread_id": "own", "extra": {"a": 1}, "messages": messages}
    read = [parse_conversation(line, "file:7") for line in (full, {"messages": messages}, messages)]
    assert [(line.thread_id, line.extra) for line in read] == [
        ("own", {"a": 1}),
        ("file:7", {}),
        ("file:7", {}),
    ]
    assert read[0].messages == read[1].messages == read[2].messages


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (
            {},
            (
                "The conversation has no list of messages: none of messages, conversations, "
                "input, output, choices. Write its messages as a list, or as the value of "
                "messages in an object."
            ),
        ),
        (3, "messages must be a list, not int."),
        (
            {"messages": [{"role": "system", "content": "a"}], "extra": {"system": "b"}},
            "extra['system'] differs from the system message.",
        ),
        (
            {"messages": [{"role": "system", "content": "a"}], "system": "b"},
            "messages[0] differs from the conversation's system message.",
        ),
        (
            {"messages": [], "extra": {"tools": []}, "tools": [{}]},
            "extra['tools'] differs from the conversation's 'tools'.",
        ),
        (
            {"system": False, "body": {"messages": [{"role": "system", "content": "a"}]}},
            "system differs from the conversation's system message.",
        ),
        ({"messages": [], "system": 1}, "system is not text, which cannot be stored."),
    ],
)
def test_parse_conversation_that_is_none_is_refused(raw: object, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        parse_conversation(raw, "file:1")
    assert str(caught.value) == reason


def test_extra_must_be_an_object() -> None:
    """Extra is checked as that of the API."""
    with pytest.raises(InvalidJsonError, match="extra must be a dict, not list"):
        parse_conversation({"messages": [], "extra": [1]}, "file:1")
