"""Alembic's environment, which Alembic runs for each of its commands."""

import asyncio
import os
from functools import partial

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import threadlog.migrations.plugin  # noqa: F401 - adds op.create_threadlog_schema() and others
from examples.host_migrations.tables import shop_metadata
from threadlog.models import cubepi_metadata

URL = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get(
    "SHOP_DATABASE_URL", "sqlite+aiosqlite:///shop.db"
)

configure = partial(
    context.configure,
    # One history for the application's tables and threadlog's.
    target_metadata=[shop_metadata, cubepi_metadata],
    # "threadlog" is up to you: `alembic check` notices when partitions were changed.
    autogenerate_plugins=["alembic.autogenerate.*", "threadlog"],
    compare_server_default=True,
)


def run_offline() -> None:
    """Write the statements as text, for ``--sql``."""
    configure(url=URL, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_on(connection: Connection) -> None:
    """Run the command on a connection."""
    configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def run_online() -> None:
    """Connect, with an asynchronous driver, and run the command."""
    engine = create_async_engine(URL)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_on)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online())
