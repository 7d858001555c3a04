"""A shop that is killed in the middle of an order, and right after one.

The shop is the FastAPI application of examples/shop/app.py, run by uvicorn, and each order
comes over HTTP. Killed with SIGKILL between the order and the message, it has stored neither.
Killed after the commit and before the answer, it has stored both. At the end the conversation
must have exactly one message for each order.

Run it with: make example-shop, or make example-shop URL=mysql://user:password@host/database
"""

import asyncio
import sys
from contextlib import suppress
from uuid import uuid4

import httpx

from examples.shop.server import Server, serving
from examples.shop.stopping import ITEM

THREAD = f"shop/{uuid4().hex[:8]}"
STOPPING = "examples.shop.stopping:app"


def order(item: str, quantity: int) -> dict[str, object]:
    """Return the order that a customer sends."""
    return {"thread_id": THREAD, "item": item, "quantity": quantity}


async def place(server: Server, item: str, quantity: int) -> None:
    """Place an order that must be stored."""
    answer = await server.client.post("/orders", json=order(item, quantity))
    if answer.status_code != httpx.codes.CREATED:
        sys.exit(f"The order of {item} got {answer.status_code}: {answer.text}")
    print(f"The customer orders {quantity} x {item} and is told: {answer.text}")


async def place_and_kill(server: Server, quantity: int) -> None:
    """Place an order, and kill the server in the middle of it."""
    print(f"The customer orders {quantity} x {ITEM} ...")
    sent = asyncio.create_task(server.client.post("/orders", json=order(ITEM, quantity)))
    if not await server.line():
        sys.exit("The server ended before it could be killed.")
    await server.kill()
    print("------------ the server is killed here, with SIGKILL ------------")
    with suppress(httpx.TransportError):
        sys.exit(f"The customer was told {(await sent).text}")


async def look(server: Server, expected: list[int]) -> None:
    """Print the stored orders and messages; exit with an error if they are not as expected."""
    orders = (await server.client.get("/orders", params={"thread_id": THREAD})).json()
    said = (await server.client.get(f"/threads/{THREAD}")).json()
    for placed in orders:
        print(f"    order {placed['id']}: {placed['quantity']} x {placed['item']}")
    for message in said:
        print(f"    message {message['seq']}, {message['role']}: {message['text']}")
    if [placed["quantity"] for placed in orders] != expected:
        sys.exit(f"These quantities should be ordered: {expected}.")
    due = [f"I order {o['quantity']} x {o['item']}. (order {o['id']})" for o in orders]
    if [(m["seq"], m["text"]) for m in said] != list(enumerate(due, start=1)):
        sys.exit("The conversation does not say each order once, in order.")


async def demonstrate(url: str) -> None:
    """Place orders, kill the server in two of them, and check the stored rows."""
    async with serving(url, STOPPING, stop="placed") as server:
        print(f"A shop listens at {server.client.base_url}, its conversation is {THREAD!r}.")
        await place(server, "tea", 1)
        await look(server, [1])
        print("\nThe next order is in the transaction, its message is not yet:")
        await place_and_kill(server, 2)
    async with serving(url, STOPPING, stop="committed") as server:
        print("A new server finds neither the order nor a message of it:")
        await look(server, [1])
        print("\nThe next order and its message are committed, the customer is not told yet:")
        await place_and_kill(server, 3)
    async with serving(url) as server:
        print("A new server finds both:")
        await look(server, [1, 3])
        print("\nAnd the shop goes on:")
        await place(server, "milk", 4)
        await look(server, [1, 3, 4])
    print("Each order is said once in the conversation, and nothing else is.")


if __name__ == "__main__":
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(demonstrate(sys.argv[1]))
    except (httpx.TransportError, RuntimeError) as error:
        sys.exit(f"The server failed: {error!r}. What it printed itself is above.")
