"""Ids and names: what is kept apart, how long they may be, and what is refused."""

from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest

from tests.graph.saver.making import (
    checkpoint_of,
    config_for,
    id_of,
    ids,
    metadata_of,
    put_chain,
    thread,
)
from threadlog.databases.base import DatabaseFacts
from threadlog.encoding.statement_size import STATEMENT_OVERHEAD
from threadlog.errors import (
    InvalidIdError,
    InvalidInputError,
    InvalidJsonError,
    ThreadAlreadyExistsError,
    TooLargeError,
)
from threadlog.langgraph import Saver

LONG = "n" * 70_000


@pytest.mark.parametrize(
    "names",
    [
        ("t", "T"),
        ("ä", "a", "Ä"),
        ("a\t", "a"),
        ("ß", "ss"),
        ("x" * 255, "x" * 254),
        ("😀", "😁"),
    ],
)
async def test_threads_that_look_alike_are_kept_apart(saver: Saver, names: tuple[str, ...]) -> None:
    stored = {name: (await put_chain(saver, name, 1))[0] for name in names}
    for name, config in stored.items():
        newest = await saver.aget_tuple(config_for(name))
        assert newest is not None
        assert newest.config == config
    await saver.adelete_thread(names[0])
    assert await saver.aget_tuple(config_for(names[0])) is None
    for name in names[1:]:
        assert await saver.aget_tuple(config_for(name)) is not None


async def test_checkpoints_and_tasks_that_differ_in_case_are_kept_apart(saver: Saver) -> None:
    for checkpoint_id in ("c-a", "c-A"):
        config = await saver.aput(
            config_for("t"),
            checkpoint_of({"v": checkpoint_id}, {"v": checkpoint_id}, checkpoint_id),
            metadata_of(run_id=f"run {checkpoint_id}"),
            {"v": checkpoint_id},
        )
        for task_id in ("task", "TASK"):
            await saver.aput_writes(config, [("w", checkpoint_id + task_id)], task_id)
    for checkpoint_id in ("c-a", "c-A"):
        found = await saver.aget_tuple(config_for("t", "", checkpoint_id))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"v": checkpoint_id}
        assert found.pending_writes == [
            ("TASK", "w", f"{checkpoint_id}TASK"),
            ("task", "w", f"{checkpoint_id}task"),
        ]
    await saver.adelete_for_runs(["run c-a"])
    assert await ids(saver.alist(config_for("t"))) == ["c-A"]


@pytest.mark.parametrize("space", ["", " ", "a", "a ", "A", "child:1|grand:2", LONG, LONG + " "])
async def test_namespaces_of_any_length_are_kept_apart(saver: Saver, space: str) -> None:
    """Each is found by its whole name, a space at its end included."""
    others = {"", " ", "a", "a ", "A", LONG, LONG + " ", LONG[:-1]} - {space}
    for other in others:
        await put_chain(saver, "t", 1, other)
    (config,) = await put_chain(saver, "t", 1, space)
    found = await saver.aget_tuple(config_for("t", space))
    assert found is not None
    assert found.config == config
    assert await ids(saver.alist(config_for("t", space))) == [id_of(config)]


async def test_channels_of_any_name_are_kept_apart(any_saver: Any) -> None:
    names = ["a", "A", "a ", "'", '"', "\\", "`", "%s", ":x", "😀", LONG, LONG + "x", "\n"]
    values = {name: ["value of", name[-3:], number] for number, name in enumerate(names)}
    versions = {name: f"{number:032}.5" for number, name in enumerate(names)}
    stored = await any_saver.aput(
        config_for("t"), checkpoint_of(values, versions), metadata_of(), versions
    )
    await any_saver.aput_writes(stored, list(values.items()), "task", "path")
    found = await any_saver.aget_tuple(config_for("t"))
    assert found.checkpoint["channel_values"] == values
    assert found.checkpoint["channel_versions"] == versions
    assert found.pending_writes == [("task", name, values[name]) for name in names]


@pytest.mark.parametrize("thread_id", [7, uuid4()])
async def test_thread_ids_that_are_no_text_count_as_theirs(saver: Saver, thread_id: Any) -> None:
    await put_chain(saver, thread_id, 1)
    assert await saver.aget_tuple(config_for(str(thread_id))) is not None
    await saver.adelete_thread(thread_id)
    assert await saver.aget_tuple(config_for(thread_id)) is None


@pytest.mark.parametrize(
    ("thread_id", "reason"),
    [
        ("a ", "must not end in a space"),
        ("x" * 256, "must have at most 255 characters, not 256"),
        ("", "must not be empty"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
    ],
)
async def test_threads_that_could_not_be_kept_apart_are_refused(
    saver: Saver, thread_id: str, reason: str
) -> None:
    config = config_for(thread_id, "", "c")
    with pytest.raises(InvalidIdError, match=reason):
        await saver.aput(config, checkpoint_of(), metadata_of(), {})
    with pytest.raises(InvalidIdError, match=reason):
        await saver.aput_writes(config, [("a", 1)], "task")
    with pytest.raises(InvalidIdError, match=reason):
        await saver.aget_tuple(config)
    with pytest.raises(InvalidIdError, match=reason):
        await ids(saver.alist(config))
    for work in (saver.adelete_thread(thread_id), saver.aprune([thread_id])):
        with pytest.raises(InvalidIdError, match=reason):
            await work
    with pytest.raises(InvalidIdError, match=reason):
        await saver.acopy_thread("t", thread_id)
    assert await ids(saver.alist(None)) == []


async def test_list_of_empty_config_lists_all_threads(saver: Saver) -> None:
    """As LangGraph's own savers do, for which ``{}`` is like None."""
    for thread_id in ("t", "u"):
        await saver.aput(config_for(thread_id), checkpoint_of(), metadata_of(), {})
    wanted = await ids(saver.alist(None))
    assert len(wanted) == 2
    assert await ids(saver.alist({})) == wanted


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"checkpoint_id": "c" * 256}, InvalidIdError, "checkpoint id must have at most 255"),
        ({"checkpoint_id": "c "}, InvalidIdError, "checkpoint id must not end in a space"),
        ({"space": "a\0"}, InvalidInputError, "checkpoint_ns contains a NUL"),
        ({"values": {"a\0": 1}}, InvalidInputError, "channel's name contains a NUL"),
        ({"values": {"\udfff": 1}}, InvalidInputError, "surrogate"),
        ({"values": {"a": lambda: None}}, InvalidInputError, "value of channel 'a' cannot be"),
        ({"run_id": "r" * 256}, InvalidIdError, "run_id must have at most 255"),
        ({"run_id": "r "}, InvalidIdError, "run_id must not end in a space"),
        ({"note": float("nan")}, InvalidJsonError, r"metadata\['note'\] is nan"),
        ({"note": 2**65}, InvalidJsonError, "beyond 64 bits"),
        ({"note": ["a\0b"]}, InvalidJsonError, r"metadata\['note'\]\[0\] contains a NUL"),
        ({"note": object()}, InvalidJsonError, "of type object"),
    ],
)
async def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    saver: Saver, change: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    parts = ("values", "space", "checkpoint_id")
    metadata = metadata_of(**{name: part for name, part in change.items() if name not in parts})
    checkpoint = checkpoint_of(change.get("values", {"a": 1}), None, change.get("checkpoint_id"))
    config = config_for("t", change.get("space", ""))
    with pytest.raises(kind, match=reason):
        await saver.aput(config, checkpoint, metadata, checkpoint["channel_versions"])
    assert await ids(saver.alist(None)) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (([("a", 1)], "t" * 129), "task_id must have at most 128 characters, not 129"),
        (([("a", 1)], "t "), "task_id must not end in a space"),
        (([("a", 1)], "t", "p\0"), "task_path contains a NUL"),
        (([("a\0", 1)], "t"), "channel's name contains a NUL"),
        (([("a", 1), ("b", lambda: None)], "t"), "the write to channel 'b' cannot be serialised"),
    ],
)
async def test_writes_that_cannot_be_stored_are_refused_all(
    saver: Saver, arguments: tuple[Any, ...], reason: str
) -> None:
    (config,) = await put_chain(saver, "t", 1)
    with pytest.raises(InvalidInputError, match=reason):
        await saver.aput_writes(config, *arguments)
    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.pending_writes == []


async def test_a_config_without_a_thread_or_checkpoint_is_reported(saver: Saver) -> None:
    with pytest.raises(InvalidInputError, match='"thread_id": "…"'):
        await saver.aget_tuple({"configurable": {}})
    with pytest.raises(InvalidInputError, match="names no checkpoint_id"):
        await saver.aput_writes(config_for("t"), [("a", 1)], "task")


@pytest.mark.parametrize("limit", [-1, 1.0, "1", True, HTTPStatus.OK])
async def test_a_limit_that_is_no_count_is_refused(saver: Saver, limit: Any) -> None:
    """An IntEnum too, of which PyMySQL sends the name."""
    await put_chain(saver, "t", 1)
    with pytest.raises(InvalidInputError, match="limit must be an int of at least 0"):
        await ids(saver.alist(config_for("t"), limit=limit))
    assert await ids(saver.alist(config_for("t"), limit=0)) == []


def test_write_at_the_packet_limit_is_stored_and_one_byte_more_refused(
    innodb_graph_url: str,
) -> None:
    """Bytes are sent in base64, four characters for three bytes."""
    with Saver(innodb_graph_url) as saver:
        assert saver._slot.client is not None
        limit = saver._slot.client._client.facts.statement_limit
        config = saver.put(config_for("t"), checkpoint_of(), metadata_of(), {})
        with pytest.raises(TooLargeError) as caught:
            saver.put_writes(config, [("a", bytes(limit))], "task")
        excess = caught.value.size - (limit - STATEMENT_OVERHEAD)
        fits = limit - 3 * -(-excess // 4)
        assert limit // 4 * 3 - 5_000 < fits < limit // 4 * 3
        saver.put_writes(config, [("a", b"x" * fits)], "task")
        with pytest.raises(TooLargeError):
            saver.put_writes(config, [("a", b"x" * (fits + 3))], "task")
        values = {"a": b"x" * (limit // 3), "b": b"y" * (limit // 3), "c": b"z" * (limit // 3)}
        saver.put(config, checkpoint_of(values), metadata_of(), dict.fromkeys(values, "1"))
        with pytest.raises(TooLargeError):
            saver.put(
                config, checkpoint_of({"a": bytes(limit // 4 * 3)}), metadata_of(), {"a": "2"}
            )


async def test_what_exceeds_a_statement_is_refused_by_name(innodb_graph_url: str) -> None:
    async with Saver(innodb_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
        assert saver._slot.client is not None
        saver._slot.client._client.facts = DatabaseFacts(100_000)
        big = "x" * 100_000
        with pytest.raises(TooLargeError, match="the value of channel 'big' needs"):
            await saver.aput(config, checkpoint_of({"big": big}), metadata_of(), {"big": "1"})
        with pytest.raises(TooLargeError, match="the write to channel 'big' needs"):
            await saver.aput_writes(config, [("a", 1), ("big", big)], "task")
        many = dict.fromkeys(map(str, range(2_000)), "1")
        with pytest.raises(TooLargeError, match="the checkpoint needs"):
            await saver.aput(config, checkpoint_of({}, many), metadata_of(), {})
        assert await ids(saver.alist(None)) == [id_of(config)]
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == []


async def test_a_copy_goes_to_a_thread_that_is_new(saver: Saver) -> None:
    """Copying into a thread never mixes two."""
    source, target = thread(), thread()
    await put_chain(saver, source, 3)
    await saver.acopy_thread(source, target)
    with pytest.raises(ThreadAlreadyExistsError):
        await saver.acopy_thread(source, target)
    with pytest.raises(ThreadAlreadyExistsError):
        await saver.acopy_thread(source, source)
    assert len(await ids(saver.alist(config_for(target)))) == 3
