"""The application's own table."""

from decimal import Decimal

from sqlalchemy import MetaData, Numeric, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

shop_metadata = MetaData()


class Base(DeclarativeBase):
    """Base of the application's mapped classes."""

    metadata = shop_metadata


class Order(Base):
    """An order, and the conversation in which it was placed."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    thread_id: Mapped[str | None] = mapped_column(String(255), index=True)
