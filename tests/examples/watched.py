"""The shop's application with one more endpoint, which tells how its pool is used."""

from fastapi import Request
from pydantic import BaseModel
from sqlalchemy import QueuePool

from examples.shop.app import AShop, app

__all__ = ["Pool", "app"]


class Pool(BaseModel):
    """Connections of the application's engine at one moment."""

    taken: int
    idle: int


@app.get("/test/pool")
async def get_pool(request: Request, shop: AShop) -> Pool:
    """Count the connections that are in use, and those that are not."""
    async with shop.sessions() as session:
        pool = session.get_bind().engine.pool  # this takes no connection
    assert isinstance(pool, QueuePool)
    return Pool(taken=pool.checkedout(), idle=pool.checkedin())
