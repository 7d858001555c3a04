"""Truncations beside appends and forks: nothing is lost, and no seq is allocated twice."""

import asyncio
import json
import random
from collections import Counter
from typing import Final

import pytest

from tests.support.factories import UserFactory
from tests.support.processes import run_at_once
from threadlog import Checkpointer
from threadlog.messages import Message, TextContent, UserMessage

APPENDS: Final = 60
TRUNCATIONS: Final = 25


def said(name: str) -> list[Message]:
    """Create one message of a text."""
    return [UserMessage(content=[TextContent(text=name)])]


def text_of(message: Message) -> str:
    """Return the text of a message."""
    block = message.content[0]
    assert isinstance(block, TextContent)
    return block.text


def assert_nothing_lost(
    appended: dict[int, str], removed: set[int], stored: dict[int, str]
) -> None:
    """Assert that each appended message is at its seq, unless a truncation removed it."""
    assert stored == {seq: name for seq, name in appended.items() if seq not in removed}


async def test_truncations_beside_appends_and_forks(database_url: str) -> None:
    """Forks have what the source had at one moment."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    appended: dict[int, str] = {}
    given: Counter[int] = Counter()
    forks: list[tuple[str, int]] = []
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", said("first"))
        appended[1] = "first"

        async def append(writer: str) -> None:
            for number in range(APPENDS):
                size = dice.choice([1, 1, 1, 3])
                names = [f"{writer} {number} {place}" for place in range(size)]
                messages = [message for name in names for message in said(name)]
                key = f"{writer} {number}" if dice.random() < 0.2 else None
                seqs = await checkpointer.append("t", messages, key=key)
                given.update(seqs)
                appended.update(zip(seqs, names, strict=True))
                await asyncio.sleep(dice.random() * 0.002)

        async def truncate() -> None:
            for number in range(TRUNCATIONS):
                newest = max(appended)
                after = max(1, newest - dice.randrange(6))
                await checkpointer.truncate("t", after_seq=after, run_id=f"edit {number}")
                await asyncio.sleep(dice.random() * 0.005)

        async def fork() -> None:
            for number in range(TRUNCATIONS):
                at_seq = max(1, max(appended) - dice.randrange(4))
                await checkpointer.fork("t", f"f{number}", at_seq=at_seq)
                forks.append((f"f{number}", at_seq))
                await asyncio.sleep(dice.random() * 0.005)

        await asyncio.gather(*map(append, "abcd"), truncate(), fork())
        removals = await checkpointer.truncations("t")
        stored = {s.seq: text_of(s.message) for s in await checkpointer.read("t")}
        in_range = {seq for r in removals for seq in range(r.after_seq + 1, r.last_seq + 1)}
        print(
            f"seed {seed}: {len(appended)} messages, {len(stored)} left; "
            f"{len(removals)} truncations of {TRUNCATIONS} removed some; {len(forks)} forks"
        )
        assert set(given.values()) == {1}, "a seq was given twice"
        # A range may contain seqs that an earlier truncation removed, or an append got later: no.
        assert_nothing_lost(appended, in_range, stored)
        assert sum(r.message_count for r in removals) == len(appended) - len(stored)
        highest = max(appended)
        assert await checkpointer.append("t", said("last")) == [highest + 1]
        for name, at_seq in forks:
            copied = {s.seq: text_of(s.message) for s in await checkpointer.read(name)}
            assert max(copied) <= at_seq
            assert copied.items() <= appended.items()
            # What is missing in the middle was removed, never cut out by the fork.
            assert {seq for seq in appended if seq <= max(copied)} - set(copied) <= in_range


EDIT: Final = """
import asyncio, json, random, sys
from threadlog import Checkpointer
from threadlog.messages import TextContent, UserMessage

async def main(url, writer, count, seed):
    dice = random.Random(f"{seed} {writer}")
    async with Checkpointer(url) as checkpointer:
        print("ready", flush=True)
        sys.stdin.readline()
        appended, removed = [], []
        for n in range(count):
            message = UserMessage(content=[TextContent(text=f"{writer} {n}")])
            (seq,) = await checkpointer.append("t", [message])
            appended.append([seq, f"{writer} {n}"])
            if dice.random() < 0.3:
                after = max(1, seq - dice.randrange(4))
                found = await checkpointer.truncate("t", after_seq=after)
                if found is not None:
                    removed.append([found.after_seq, found.last_seq, found.message_count])
        print(json.dumps([appended, removed]), flush=True)

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@pytest.mark.processes
async def test_processes_that_append_and_truncate_one_thread(database_url: str) -> None:
    seed = random.randrange(2**32)
    async with Checkpointer(database_url) as checkpointer:
        await checkpointer.append("t", [UserFactory()])
    given = [json.dumps([database_url, writer, 50, seed]) for writer in "abcd"]
    ended = await asyncio.to_thread(run_at_once, [("-c", EDIT, each) for each in given])
    results = [json.loads(out) for out in ended]
    every = [(seq, name) for appended, _ in results for seq, name in appended]
    removals = [tuple(removal) for _, removed in results for removal in removed]
    assert len(dict(every)) == len(every), "a seq was given twice"
    async with Checkpointer(database_url) as checkpointer:
        stored = {s.seq: s.message for s in await checkpointer.read("t")}
        traces = await checkpointer.truncations("t")
    del stored[1]
    assert {(t.after_seq, t.last_seq, t.message_count) for t in traces} == set(removals)
    in_range = {seq for after, last, _ in removals for seq in range(after + 1, last + 1)}
    left = {seq: text_of(message) for seq, message in stored.items()}
    assert_nothing_lost(dict(every), in_range, left)
    print(
        f"seed {seed}: 200 messages of 4 processes, {len(removals)} truncations, {len(left)} left"
    )
    assert removals
    assert left
