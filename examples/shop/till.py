"""The same shop without asyncio: a till that places one order and prints the conversation.

    SHOP_URL=sqlite:///shop.db python -m examples.shop.till order-17 tea 2

For MySQL the URL is ``mysql+pymysql://…``. The tables are created as in examples/shop/app.py. Both
programs may use one database at the same time.
"""

import os
import sys

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from examples.shop.orders import Base, Order, run_again, says, words
from threadlog import SyncCheckpointer
from threadlog.errors import InvalidInputError


def create_tables(engine: Engine) -> None:
    """Create missing tables (one process at a time), except threadlog's tables on MySQL."""
    if engine.dialect.name == "sqlite":
        with SyncCheckpointer(engine.url):
            pass  # a checkpointer with a URL creates its tables
    Base.metadata.create_all(engine)


@run_again
def place(
    sessions: sessionmaker[Session],
    checkpointer: SyncCheckpointer,
    thread_id: str,
    item: str,
    quantity: int,
) -> Order:
    """Store the order and the message about it in one transaction."""
    with sessions.begin() as session:
        order = Order(thread_id=thread_id, item=item, quantity=quantity)
        session.add(order)
        session.flush()  # gives the order its id
        checkpointer.bind(session).append(order.thread_id, [says(order)])
    return order  # here, and not before, both are committed


def show(checkpointer: SyncCheckpointer, thread_id: str) -> None:
    """Print a conversation."""
    for stored in checkpointer.read(thread_id):
        print(f"{stored.seq:5}  {stored.message.role}  {words(stored.message)}")


def main(thread_id: str, item: str, quantity: str) -> None:
    """Place the order that the command line names."""
    engine = create_engine(os.environ["SHOP_URL"], pool_recycle=3600)
    try:
        create_tables(engine)
        with SyncCheckpointer(engine=engine) as checkpointer:
            sessions = sessionmaker(engine, expire_on_commit=False)
            order = place(sessions, checkpointer, thread_id, item, int(quantity))
            print(f"Order {order.id} is placed.")
            show(checkpointer, thread_id)
    except InvalidInputError as error:
        sys.exit(f"Nothing was ordered: {error}")
    finally:
        engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != len(("program", "thread", "item", "quantity")):
        sys.exit("Usage: python -m examples.shop.till THREAD ITEM QUANTITY")
    main(*sys.argv[1:])
