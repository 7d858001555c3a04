"""The parts that both applications of the example share: a table, a message and a retry policy."""

from typing import Final

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from threadlog.errors import StorageError
from threadlog.messages import Message, TextContent, UserMessage


class Base(DeclarativeBase):
    """The shop's own tables. threadlog's are beside them in the same database."""


class Order(Base):
    """An order that a customer placed in a conversation."""

    __tablename__ = "shop_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[str] = mapped_column(String(255), index=True)
    item: Mapped[str] = mapped_column(String(100))
    quantity: Mapped[int]


def says(order: Order) -> UserMessage:
    """Create the message about an order."""
    text = f"I order {order.quantity} x {order.item}. (order {order.id})"
    return UserMessage(content=[TextContent(text=text)], metadata={"order": order.id})


def words(message: Message) -> str:
    """Return the text of a message."""
    return " ".join(block.text for block in message.content if isinstance(block, TextContent))


def is_retryable(error: BaseException) -> bool:
    """Return True for a deadlock, a lock timeout or a lost connection."""
    return isinstance(error, StorageError) and error.retryable


# For a function, synchronous or not, that is one whole transaction from its begin to its
# commit. In an application's session threadlog repeats nothing.
run_again: Final = retry(
    retry=retry_if_exception(is_retryable),
    stop=stop_after_attempt(5),
    wait=wait_random_exponential(multiplier=0.02, max=1),
    reraise=True,
)
