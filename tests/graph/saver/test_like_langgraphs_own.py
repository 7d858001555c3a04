"""The saver beside LangGraph's own in memory: what one gives, the other gives."""

import random
from typing import Any

import pytest
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of
from tests.graph.ways import WAYS
from tests.support.seeds import FRESH

THREADS = ("t1", "T1", "t2")
SPACES = ("", "child:1", "child:1|grand:2 ")
CHANNELS = ("a", "A", "a ", 'with "quotes" and \\', "x" * 3_000, "ünï→", ERROR, INTERRUPT, RESUME)
VALUES: tuple[Any, ...] = (None, 1, "text\n'\"\\", {"deep": [1, {"x": b"\x00\xff"}]}, [], 1.5, True)


class Both:
    """Does the same to both savers."""

    def __init__(self, ours: Any, seed: int) -> None:
        self.ours, self.theirs = ours, InMemorySaver()
        self.random = random.Random(seed)
        self.stored: list[tuple[str, str, str]] = []
        self.count = 0
        self.valued: dict[tuple[str, str, str, str], bool] = {}

    async def step(self) -> None:
        """Run a random operation."""
        await self.random.choice((self.put, self.put, self.put_writes, self.compare_one))()

    async def put(self) -> None:
        """Write a checkpoint with or without a parent."""
        draw = self.random
        thread_id, space = draw.choice(THREADS), draw.choice(SPACES)
        parents = [id_ for t, s, id_ in self.stored if (t, s) == (thread_id, space)]
        parent = draw.choice([None, *parents])
        channels = draw.sample(CHANNELS[:6], draw.randint(0, 6))
        versions = {channel: draw.choice(("1", "2", "0003.5")) for channel in channels}
        # A version is of one value, or of none.
        valued = [
            channel
            for channel in channels
            if self.valued.setdefault(
                (thread_id, space, channel, versions[channel]), draw.random() < 0.8
            )
        ]
        values = {channel: (channel, versions[channel]) for channel in valued}
        new: dict[str, Any] = {
            channel: versions[channel] for channel in channels if draw.random() < 0.8
        }
        self.count += 1
        id_ = f"{draw.choice('0123')}-{self.count:05}"
        more = {"run_id": draw.choice("rs"), "n": draw.choice((None, 1, "1", [1], {"k": 2}))}
        arguments = (
            config_for(thread_id, space, parent),
            checkpoint_of(values, versions, id_),
            metadata_of(self.count, **more),
            new,
        )
        assert await self.ours.aput(*arguments) == self.theirs.put(*arguments)
        self.stored.append((thread_id, space, id_))

    async def put_writes(self) -> None:
        """Store writes after a checkpoint, some of them again."""
        if not self.stored:
            return
        draw = self.random
        config = config_for(*draw.choice(self.stored))
        writes = [(draw.choice(CHANNELS), draw.choice(VALUES)) for _ in range(draw.randint(1, 5))]
        arguments = (config, writes, draw.choice("xyz"), draw.choice(("", "b", "a, 10", "a, 9")))
        await self.ours.aput_writes(*arguments)
        self.theirs.put_writes(*arguments)

    async def compare_one(self) -> None:
        """Read a checkpoint, or the newest."""
        draw = self.random
        thread_id, space, id_ = draw.choice([*self.stored, ("t1", "", "nothing")])
        config = config_for(thread_id, space, draw.choice((id_, None)))
        expected, found = self.theirs.get_tuple(config), await self.ours.aget_tuple(config)
        assert comparable(found) == comparable(expected)

    async def compare_lists(self) -> None:
        """List in every way."""
        draw = self.random
        for _ in range(30):
            thread_id, space, _ = draw.choice(self.stored)
            names: dict[str, Any] = {"thread_id": thread_id}
            if draw.random() < 0.5:
                names["checkpoint_ns"] = space
            options: dict[str, Any] = {}
            if draw.random() < 0.5:
                options["before"] = config_for(thread_id, space, draw.choice(self.stored)[2])
            if draw.random() < 0.5:
                member = draw.choice(("run_id", "n", "step", "missing"))
                values = {"run_id": "r", "step": 7, "missing": None}
                value = draw.choice((None, 1, "1", [1], {"k": 2})) if member == "n" else None
                options["filter"] = {member: values.get(member, value)}
            await self.compare_list({"configurable": names}, options)
        await self.compare_list(None, {})
        await self.compare_list(None, {"filter": {"run_id": "s"}})

    async def compare_list(self, config: Any, options: dict[str, Any]) -> None:
        """List once; LangGraph's own goes namespace by namespace, ours by id alone."""
        expected = sorted(
            (comparable(found) for found in self.theirs.list(config, **options)),
            key=_by_name,
        )
        found = [comparable(one) async for one in self.ours.alist(config, **options)]
        ids = [one[0]["checkpoint_id"] for one in found]
        assert ids == sorted(ids, reverse=True)
        assert sorted(found, key=_by_name) == expected
        for limit in (0, 1, 3):
            some = [
                comparable(one) async for one in self.ours.alist(config, **options, limit=limit)
            ]
            assert some == found[:limit]


def _by_name(found: Any) -> Any:
    """Return a sort key for compared tuples that does not depend on the saver."""
    return (found[0]["checkpoint_id"], *sorted(found[0].items()))


def comparable(found: CheckpointTuple | None) -> Any:
    """Return a tuple in a form that can be compared."""
    if found is None:
        return None
    parent = found.parent_config
    return (
        found.config["configurable"],
        found.checkpoint,
        found.metadata,
        parent and parent["configurable"],
        found.pending_writes,
    )


@pytest.mark.parametrize("seed", [1, FRESH])
async def test_anything_that_is_done_to_both_reads_the_same(any_saver: Any, seed: int) -> None:
    print(f"seed {seed}")
    both = Both(any_saver, seed)
    for _ in range(120):
        await both.step()
    await both.compare_lists()


@pytest.mark.parametrize("seed", [1, FRESH])
async def test_copies_and_deletions_leave_the_rest_alone(graph_url: str, seed: int) -> None:
    """A copy reads like its source, and deleting one thread deletes one."""
    print(f"seed {seed}")
    async with WAYS["own"](graph_url) as opened:
        ours = opened.asynchronous_saver
        both = Both(ours, seed)
        for _ in range(100):
            await both.step()
        whole = {"configurable": {"thread_id": "t1"}}
        before = [comparable(found) async for found in ours.alist(whole)]
        await ours.acopy_thread("t1", "copy")
        copied = {"configurable": {"thread_id": "copy"}}
        found = [comparable(one) async for one in ours.alist(copied)]
        assert _renamed(found, "t1") == _renamed(before, "t1")
        await ours.adelete_thread("t1")
        both.theirs.delete_thread("t1")
        assert [one async for one in ours.alist(whole)] == []
        assert [comparable(one) async for one in ours.alist(copied)] == found
        await ours.adelete_thread("copy")
        both.stored = [one for one in both.stored if one[0] != "t1"]
        await both.compare_lists()


def _renamed(found: list[Any], thread_id: str) -> list[Any]:
    """Return compared tuples with another thread's id."""
    return [
        (
            {**config, "thread_id": thread_id},
            checkpoint,
            metadata,
            parent and {**parent, "thread_id": thread_id},
            writes,
        )
        for config, checkpoint, metadata, parent, writes in found
    ]
