"""The shop, killed with SIGKILL in the middle of an order: both are kept, or neither."""

import asyncio
import random
from signal import SIGKILL

import httpx
import pytest

from examples.shop.stopping import ITEM, PLACES
from tests.examples.helpers import (
    STOPPING,
    WATCHED,
    at_the_till,
    counts,
    is_locked,
    items,
    place,
    serving,
    till,
    watched,
    writes_to,
)
from tests.support.patience import patience

# What is in the transaction at each place: the order, the message.
WRITTEN = {"placed": (1, 0), "appended": (1, 1), "committed": (1, 1)}
KEPT = {"placed": (0, 0), "appended": (0, 0), "committed": (1, 1)}


async def check_stopped(url: str, stop: str) -> None:
    """See that a process stands where it should: so much written, so much committed."""
    if url.startswith("sqlite"):
        assert is_locked(url) is (stop != "committed")
        assert await counts(url, "SERIALIZABLE") == KEPT[stop]
    elif url.startswith("postgresql"):
        open_ = stop != "committed"
        assert await writes_to(url) == (open_, open_ and WRITTEN[stop][1] == 1)
        assert await counts(url, "READ COMMITTED") == KEPT[stop]
    else:
        assert await counts(url, "READ UNCOMMITTED") == WRITTEN[stop]
        assert await counts(url, "READ COMMITTED") == KEPT[stop]


async def check_kept(url: str, stop: str) -> None:
    """See that a new server finds both or neither, and orders go on."""
    async with watched(url) as server:
        kept = ["tea", ITEM] if stop == "committed" else ["tea"]
        assert await items(server, "a") == kept
        assert (await place(server, "a", "milk")).status_code == 201
        assert await items(server, "a") == [*kept, "milk"]


@pytest.mark.parametrize("stop", PLACES)
@pytest.mark.processes
async def test_the_application_is_killed_in_an_order(shop_url: str, stop: str) -> None:
    async with serving(shop_url, STOPPING, stop=stop) as server:
        assert (await place(server, "a", "tea")).status_code == 201
        sent = asyncio.create_task(place(server, "a", ITEM))
        async with patience():
            assert await server.line() == stop
        await check_stopped(shop_url, stop)
        await server.kill()
        with pytest.raises(httpx.TransportError):
            await sent
    await check_kept(shop_url, stop)


@pytest.mark.parametrize("stop", PLACES)
@pytest.mark.processes
@pytest.mark.one_database
async def test_the_till_is_killed_in_an_order(shop_url: str, stop: str) -> None:
    assert (await till(shop_url, "a", "tea", "1"))[0] == 0
    async with at_the_till(shop_url, "a", ITEM, "1", stop=stop) as process:
        assert process.stdout is not None
        async with patience():
            assert (await process.stdout.readline()).decode().strip() == stop
        await check_stopped(shop_url, stop)
        process.kill()
        assert (await process.stdout.read(), await process.wait()) == (b"", -SIGKILL)
    await check_kept(shop_url, stop)


@pytest.mark.processes
async def test_the_application_is_killed_under_load(shop_url: str) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    told: list[tuple[str, str]] = []

    async with serving(shop_url, WATCHED) as server:

        async def customer(thread: str) -> None:
            for number in range(1000):
                answer = await place(server, thread, f"i{number}")
                assert answer.status_code == 201
                told.append((thread, f"i{number}"))
                if len(told) == killed_after:
                    await asyncio.sleep(chance.uniform(0, 0.02))
                    await server.kill()

        killed_after = chance.randrange(10, 60)
        customers = [customer(f"t{n % 4}") for n in range(8)]
        ends = await asyncio.gather(*customers, return_exceptions=True)
        assert all(isinstance(end, httpx.TransportError) for end in ends), ends
    async with watched(shop_url) as server:
        kept = [(f"t{n}", item) for n in range(4) for item in await items(server, f"t{n}")]
    lost = [order for order in set(told) if told.count(order) > kept.count(order)]
    assert lost == [], "a customer was told of an order that is not kept"
    assert len(kept) <= len(told) + len(customers)
