"""A shop on FastAPI that stores an order and the message about it, or neither.

    SHOP_URL=sqlite+aiosqlite:///shop.db uvicorn examples.shop.app:app

On MySQL, ``mysql+asyncmy://…``, threadlog's tables come from ``threadlog migrate mysql://…``
first; in an SQLite file they are created here. The shop's own table is created here on both.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from examples.shop.orders import Base, Order, is_retryable, run_again, says, words
from threadlog import Checkpointer
from threadlog.errors import InvalidInputError, StorageError


@dataclass(frozen=True)
class Shop:
    """The objects that exist while the application runs."""

    sessions: async_sessionmaker[AsyncSession]
    checkpointer: Checkpointer


class NewOrder(BaseModel):
    """The order that a customer sends."""

    thread_id: str = Field(max_length=255)
    item: str = Field(min_length=1, max_length=100)
    quantity: int = Field(ge=1, le=1000)


class PlacedOrder(NewOrder):
    """The order as it is stored."""

    model_config = ConfigDict(from_attributes=True)
    id: int


class Said(BaseModel):
    """A message of a conversation, with its place."""

    seq: int
    role: str
    text: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Shop]]:
    """Open the engine and, on it, the checkpointer; close both in the end."""
    engine = create_async_engine(os.environ["SHOP_URL"], pool_recycle=3600)
    try:
        await create_tables(engine)
        async with Checkpointer(engine=engine) as checkpointer:
            yield {"shop": Shop(async_sessionmaker(engine, expire_on_commit=False), checkpointer)}
    finally:
        await engine.dispose()


async def create_tables(engine: AsyncEngine) -> None:
    """Create what is missing (one process at a time), but for threadlog's tables on MySQL."""
    if engine.dialect.name == "sqlite":
        async with Checkpointer(engine.url):
            pass  # a checkpointer that has the file to itself makes its tables
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


async def the_shop(request: Request) -> Shop:
    """Return the objects that `lifespan` opened."""
    return cast("Shop", request.state.shop)


AShop = Annotated[Shop, Depends(the_shop)]


async def a_session(shop: AShop) -> AsyncIterator[AsyncSession]:
    """Yield a session with one transaction for an endpoint that reads, as long as the request."""
    async with shop.sessions.begin() as session:
        yield session


ASession = Annotated[AsyncSession, Depends(a_session, scope="function")]
app = FastAPI(lifespan=lifespan)


@run_again
async def place(shop: Shop, new: NewOrder) -> Order:
    """Store the order and the message about it in one transaction."""
    async with shop.sessions.begin() as session:
        order = Order(**new.model_dump())
        session.add(order)
        await session.flush()  # gives the order its id
        await shop.checkpointer.bind(session).append(order.thread_id, [says(order)])
    return order  # here, and not before, both are committed


@app.post("/orders", status_code=201)
async def post_order(new: NewOrder, shop: AShop) -> PlacedOrder:
    """Place an order."""
    return PlacedOrder.model_validate(await place(shop, new))


@app.get("/orders")
async def get_orders(session: ASession, thread_id: str | None = None) -> list[PlacedOrder]:
    """List the orders, of one conversation or of all."""
    which = [] if thread_id is None else [Order.thread_id == thread_id]
    orders = await session.scalars(select(Order).where(*which).order_by(Order.id))
    return [PlacedOrder.model_validate(order) for order in orders]


@app.get("/threads/{thread_id:path}")
async def get_thread(thread_id: str, shop: AShop, session: ASession) -> list[Said]:
    """Return a conversation."""
    log = await shop.checkpointer.bind(session).read(thread_id)
    if not log:
        raise HTTPException(404, "There is no such conversation.")
    return [Said(seq=s.seq, role=s.message.role, text=words(s.message)) for s in log]


@app.exception_handler(InvalidInputError)
async def refused(request: Request, error: Exception) -> JSONResponse:
    """Return what is wrong with the input. The transaction has been rolled back."""
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(StorageError)
@app.exception_handler(OperationalError)  # what our own statements and the COMMIT raise
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    """Return 503: `run_again` has given up, or must not try."""
    if isinstance(error, StorageError) and not is_retryable(error):
        raise error
    detail = "The database is busy. Look whether the order is there before you order again."
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "1"})
