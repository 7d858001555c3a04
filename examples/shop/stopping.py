"""The shop with stops in the middle of an order, so that it can be killed there.

Not part of the example: the demonstration and the tests run it instead of the shop, whose own
code it runs. An order of `ITEM` blocks the process at the place that SHOP_STOP names. The
process then prints the place on stdout:

- ``placed``: the order is in the transaction, the message is not yet;
- ``appended``: both are, and COMMIT is about to be sent;
- ``committed``: both are committed, and the customer has no answer yet.

Run it with ``uvicorn examples.shop.stopping:app``, or with ``python -m examples.shop.stopping``
in place of ``python -m examples.shop.till``.
"""

import os
import sys
import time
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, UOWTransaction

from examples.shop import till
from examples.shop.app import app
from examples.shop.orders import Order

__all__ = ["ITEM", "PLACES", "app"]

ITEM: Final = "porcelain"
PLACES: Final = ("placed", "appended", "committed")
_PLACED: Final = "the order that the process is to stop in"


def stop_at(place: str) -> None:
    """Block the whole process for a minute if SHOP_STOP names this place."""
    if place == os.environ["SHOP_STOP"]:
        print(place, flush=True)
        time.sleep(60)


def listen(engines: type[Engine], sessions: type[Session]) -> None:
    """Listen to all sessions and statements of the process."""
    placed = []

    @event.listens_for(sessions, "after_flush")
    def notice(session: Session, context: UOWTransaction) -> None:
        if any(isinstance(new, Order) and new.item == ITEM for new in session.new):
            session.info[_PLACED] = True
            placed.append(session)

    @event.listens_for(engines, "before_cursor_execute")
    def before_the_message(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if placed and statement.startswith("INSERT INTO cubepi_messages"):
            stop_at("placed")

    @event.listens_for(sessions, "before_commit")
    def before_commit(session: Session) -> None:
        if session.info.get(_PLACED):
            stop_at("appended")

    @event.listens_for(sessions, "after_commit")
    def after_commit(session: Session) -> None:
        if session.info.get(_PLACED):
            stop_at("committed")


listen(Engine, Session)

if __name__ == "__main__":
    till.main(*sys.argv[1:])
