"""Erasing beside appends: nothing of the owner is left, and no other thread loses anything."""

import asyncio
import itertools
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.support.factories import TextFactory, UserFactory
from threadlog import Checkpointer
from threadlog.errors import ErasureIncompleteError
from threadlog.messages import Message

WRITERS: Final = 4
THREADS: Final = 6
APPENDS: Final = 60


def _text(message: Message) -> str:
    (part,) = message.content
    return str(getattr(part, "text", ""))


NAMES: Final = {owner: [f"{owner}{n}" for n in range(THREADS)] for owner in ("alice", "bob")}


@dataclass
class Race:
    """What writers have stored, and how many threads were erased meanwhile."""

    seed: int
    stored: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    erased: int = 0
    done: bool = False

    async def write(self, log: Checkpointer, number: int) -> None:
        """Append to threads of both owners, until threads were erased that came back."""
        dice = random.Random(self.seed + number)
        for count in itertools.count():
            if count >= APPENDS and self.erased > 2 * THREADS:
                return
            owner = dice.choice(["alice", "bob"])
            thread_id = dice.choice(NAMES[owner])
            text = f"{number}/{count}"
            message = UserFactory(content=[TextFactory(text=text)])
            await log.append(thread_id, [message], owner=owner)
            self.stored[thread_id].append(text)
            await asyncio.sleep(dice.random() * 0.005)

    async def erase(self, log: Checkpointer, *, whole_owner: bool) -> None:
        """Erase the threads of one owner again and again."""
        while not self.done:
            for name in ["alice"] if whole_owner else NAMES["alice"]:
                call = log.erase_owner if whole_owner else log.erase_thread
                try:
                    erased = await call(name)
                except ErasureIncompleteError as error:  # the writers were faster
                    erased = error.erased
                self.erased += erased.rows["cubepi_threads"]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("whole_owner", [True, False], ids=["owner", "threads"])
async def test_erase_beside_appends_loses_nothing_of_others(
    full_url: str, *, whole_owner: bool
) -> None:
    race = Race(random.randrange(2**32))
    print(f"seed {race.seed}")
    async with Checkpointer(full_url) as writing, Checkpointer(full_url) as other:
        erasing = asyncio.create_task(race.erase(other, whole_owner=whole_owner))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WRITERS):
                    group.create_task(race.write(writing, number))
        finally:
            race.done = True
        await erasing
        await other.erase_owner("alice")
        left = {thread.thread_id: thread.owner for thread in await writing.list_threads()}
        assert left == {name: "bob" for name in NAMES["bob"] if race.stored[name]}
        for thread_id in NAMES["bob"]:
            found = [_text(each.message) for each in await writing.read(thread_id)]
            assert sorted(found) == sorted(race.stored[thread_id]), thread_id
        for thread_id in NAMES["alice"]:
            assert (await other.erase_thread(thread_id)).thread_ids == ()
