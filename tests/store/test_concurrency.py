"""Many tasks, threads and processes that use one store."""

import asyncio

import pytest
from langgraph.store.base import PutOp

from tests.store.ways import Way
from tests.support.patience import patience


async def test_two_hundred_puts_of_one_key_leave_one_whole_item(way: Way) -> None:
    async with patience():
        await asyncio.gather(*(way.call("put", ("a",), "k", {"a": n, "b": n}) for n in range(200)))
    (item,) = await way.call("search", ("a",))
    assert item.value["a"] == item.value["b"]
    assert item.created_at <= item.updated_at


@pytest.mark.one_database
async def test_batches_in_any_order_do_not_lose_items(way: Way) -> None:
    """They are sorted before they lock."""
    names = [str(number) for number in range(20)]

    async def write(turn: int) -> None:
        order = names if turn % 2 else names[::-1]
        await way.call("batch", [PutOp(("a",), name, {"turn": turn}) for name in order])

    async with patience():
        await asyncio.gather(*(write(turn) for turn in range(20)))
    found = await way.call("search", ("a",), limit=100)
    assert sorted(item.key for item in found) == sorted(names)
    assert len({item.value["turn"] for item in found}) == 1, "two batches were mixed up"
