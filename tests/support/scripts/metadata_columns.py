"""An application that indexes metadata.

Run it with `python -m tests.support.scripts.metadata_columns URL MESSAGES`. It is a process of its
own, because columns are attached to the mapped class for good. It fills the log with so many
messages, adds the columns as Alembic's autogenerate proposes while others append, and prints the
results and plans of queries, as JSON.
"""

import asyncio
import json
import sys
import warnings
from datetime import UTC, datetime
from textwrap import dedent
from typing import Any

import sqlalchemy
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Float,
    Integer,
    Numeric,
    String,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import InstrumentedAttribute

import threadlog.migrations.plugin  # noqa: F401 - looks through what autogenerate finds
from tests.support.factories import UserFactory
from tests.support.ways import host_engine
from threadlog import Checkpointer
from threadlog.models import Message, Thread, cubepi_metadata, metadata_column

Message.user_id = metadata_column("$.user_id", String(64), index=True)
Message.score = metadata_column("$.order.lines[1]", Integer(), index=True)
Message.spaced = metadata_column('$."a key"', BigInteger())
Message.ratio = metadata_column("$.ratio", Float())
Message.price = metadata_column("$.price", Numeric(10, 2))
Message.vip = metadata_column("$.vip", Boolean())
Thread.tier = metadata_column("$.customer.tier", Integer(), index=True, of="extra")


def is_compared(name: str | None, type_: str, _: object) -> bool:
    """Return False for thread control, which an SQLite database has and a server's has not."""
    return type_ != "table" or name in cubepi_metadata.tables


OPTIONS = {"include_name": is_compared}
MESSAGES = Message.metadata.tables["cubepi_messages"]
EXPLAIN = {
    "mysql": "EXPLAIN FORMAT=TRADITIONAL",
    "mariadb": "EXPLAIN",
    "postgresql": "EXPLAIN",
    "sqlite": "EXPLAIN QUERY PLAN",
}
STORED = ("thread_id", "seq", "role", "metadata", "payload", "created_at")

ANALYZE = {
    "mysql": "ANALYZE TABLE cubepi_messages",
    "mariadb": "ANALYZE TABLE cubepi_messages",
    "postgresql": "ANALYZE cubepi_messages",
}


def of(name: str) -> InstrumentedAttribute[Any]:
    """Return an attached attribute."""
    attribute: InstrumentedAttribute[Any] = getattr(Message, name)
    return attribute


def fill(connection: Connection, count: int) -> None:
    """Insert messages of 500 threads and 2,000 users."""
    threads = Thread.metadata.tables["cubepi_threads"]
    connection.execute(insert(threads), [{"thread_id": f"t{n}"} for n in range(500)])
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    for start in range(0, count, 5_000):
        rows = [
            (f"t{n % 500}", n // 500 + 1, "user", {"user_id": f"u{n % 2000}"}, b"\x80", now)
            for n in range(start, min(start + 5_000, count))
        ]
        connection.execute(insert(MESSAGES), [dict(zip(STORED, row, strict=True)) for row in rows])


def migrate(connection: Connection) -> tuple[str, str, list[str]]:
    """Run the migration that autogenerate writes; return it, and what it would write after that."""
    context = MigrationContext.configure(connection, opts=OPTIONS)
    script = produce_migrations(context, cubepi_metadata)
    up, down = script.upgrade_ops, script.downgrade_ops
    assert up is not None
    assert down is not None
    upgrade, downgrade = (
        dedent("    " + render_python_code(ops, migration_context=context)) for ops in (up, down)
    )
    for _ in range(2):  # the second time as after a failure
        run(connection, upgrade)
    left = [str(difference) for difference in compare_metadata(context, cubepi_metadata)]
    return upgrade, downgrade, left


def run(connection: Connection, code: str) -> None:
    """Run the body of a migration."""
    operations = Operations(MigrationContext.configure(connection))
    exec(code, {"op": operations, "sa": sqlalchemy})  # noqa: S102 - as Alembic does


def columns_of(connection: Connection) -> list[str]:
    """Return the names of the columns of messages and threads."""
    tables = ("cubepi_messages", "cubepi_threads")
    return [column["name"] for name in tables for column in inspect(connection).get_columns(name)]


def compare_defaults(connection: Connection) -> list[str]:
    """Return the differences and warnings of an autogenerate that compares server defaults."""
    options = {**OPTIONS, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [str(difference) for difference in compare_metadata(context, cubepi_metadata)]
    return [*found, *(str(each.message) for each in caught)]


def compare_another_path(connection: Connection) -> list[str]:
    """Return the same after the application has changed a column's path."""
    column = MESSAGES.c.user_id
    before = column.computed
    column.computed = column.server_default = metadata_column(
        "$.person", String(64)
    ).column.computed
    found = compare_defaults(connection)
    column.computed = column.server_default = before
    return found


async def append(checkpointer: Checkpointer, done: asyncio.Event) -> int:
    """Append to one thread until the migration is done."""
    count = 0
    while not done.is_set() or count < 10:
        await checkpointer.append("live", [UserFactory(metadata={"user_id": "live"})])
        count += 1
    return count


async def ask(engine: AsyncEngine) -> dict[str, Any]:
    """Run each query; return its number of rows and its plan."""
    conditions = {
        "column": of("user_id") == "u7",
        "expression": Message.metadata_["user_id"].as_string() == "u7",
        "either": Message.metadata_["user_id"].as_string().in_(["u7", "u8"]),
        "number": of("score") == 5,
        "number's expression": Message.metadata_["order", "lines", 1].as_integer() == 5,
        "other case": of("user_id") == "U7",
        "live": of("user_id") == "live",
        "spaced": of("spaced") == 2**40,
        "ratio": of("ratio") == 0.5,
        "price": of("price") == 12.34,
        "vip": of("vip").is_(True),
    }
    found: dict[str, Any] = {}
    async with engine.connect() as connection:
        for name, condition in conditions.items():
            query = MESSAGES.select().where(condition)
            rows = (await connection.execute(query)).all()
            sql = query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
            word = EXPLAIN[engine.dialect.name]
            plan = (
                await connection.execute(text(f"{word} {str(sql).replace(':', chr(92) + ':')}"))
            ).mappings()
            found[name] = {"rows": len(rows), "plan": str([dict(step) for step in plan])}
    return found


async def main(url: str, count: int) -> None:
    """Run the application."""
    engine = host_engine(url)
    done = asyncio.Event()
    async with Checkpointer(url) as checkpointer:
        async with engine.begin() as connection:
            await connection.run_sync(fill, count)
        appending = asyncio.create_task(append(checkpointer, done))
        async with engine.begin() as connection:
            upgrade, downgrade, differences = await connection.run_sync(migrate)
        async with engine.connect() as connection:
            defaults = await connection.run_sync(compare_defaults)
            other_path = await connection.run_sync(compare_another_path)
        done.set()
        appended = await appending
        extras = {
            "order": {"lines": [1, 5]},
            "a key": 2**40,
            "ratio": 0.5,
            "price": 12.34,
            "vip": True,
            "user_id": None,
        }
        await checkpointer.save_extra("rich", {"customer": {"tier": 3}})
        await checkpointer.claim_run("rich", "r")
        await checkpointer.append("rich", [UserFactory(metadata=extras, run_id="r")])
        await checkpointer.mark_run_complete("rich", "r")
        await checkpointer.fork("rich", "fork", after_run_id="r")
        if analyze := ANALYZE.get(engine.dialect.name):
            async with engine.begin() as connection:
                await connection.execute(text(analyze))
        report = await ask(engine)
        seqs = [stored.seq for stored in await checkpointer.read("live")]
        async with engine.begin() as connection:
            tier: Any = Thread.tier  # type: ignore[attr-defined]  # attached above
            of_tier = select(Thread.thread_id).where(tier == 3)
            tiers = list(await connection.scalars(of_tier))
            await connection.run_sync(run, downgrade)
            left = await connection.run_sync(columns_of)
    report |= {"appended": appended, "seqs": seqs, "differences": differences}
    report |= {"defaults": defaults, "other path": other_path}
    report |= {"upgrade": upgrade, "downgrade": downgrade, "tiers": tiers, "left": left}
    report["version"] = engine.dialect.server_version_info
    print(json.dumps(report))
    await engine.dispose()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
