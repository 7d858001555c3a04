"""How databases find items: by indexes, among those of thousands of other namespaces."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tests.support.databases import SERVERS, create_schema, fresh_database, on_connection
from tests.support.matrix import on_each
from tests.support.plans import Plan, Sent, analyze, explain, recorded, rows_read
from tests.support.ways import host_engine, open_engine
from threadlog.langgraph import Store
from threadlog.models import STORE, StoreItem
from threadlog.repositories import JoinedUnitOfWork

_ITEMS: Final = StoreItem.metadata.tables[StoreItem.__tablename__]
_NAMESPACES: Final = 10_000
_ITEMS_OF_EACH: Final = 10
_LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)

# Longer than what the index has of it.
_LONG: Final = "x" * 600


def _create_others(connection: Connection) -> None:
    """Create a hundred thousand items, because servers scan small tables."""
    for key in range(_ITEMS_OF_EACH):
        rows = []
        for number in range(_NAMESPACES):
            namespace = f"acme-{number}.memories."
            row = {
                "item_digest": f"{key}{number:031}",
                "namespace_start": namespace.encode(),
                "namespace": namespace,
                "item_key": f"{key}",
                "value": {"n": number},
                "created_at": _LONG_AGO,
                "updated_at": _LONG_AGO,
            }
            rows.append(row)
        connection.execute(insert(_ITEMS), rows)


async def _fill(url: str) -> None:
    async with Store(url) as store:
        for number in range(20):
            await store.aput(("acme", f"user-{number}"), "k", {"n": number})
        await store.aput(("acme-corp",), "k", {"n": 1})
        await store.aput((_LONG, "a"), "k", {"n": 1})
    await on_connection(url, _create_others)
    await on_connection(url, lambda connection: analyze(connection, _ITEMS.name))


@pytest.fixture(scope="module", params=on_each(SERVERS))
def among_others(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database with thousands of namespaces, and one of 20 items."""
    with fresh_database(request.getfixturevalue(f"{request.param}_server_url")) as url:
        asyncio.run(on_connection(url, partial(create_schema, part=STORE)))
        asyncio.run(_fill(url))
        yield url


async def sent_by(url: str, name: str, *arguments: Any, **options: Any) -> Sent:
    """Return the statements of a call that reads."""
    engine = host_engine(url)
    async with Store(engine=engine) as store:
        await store.setup()
        await store.aget(("warm",), "k")  # verifies the schema
        with recorded([engine.sync_engine]) as sent:
            assert await getattr(store, name)(*arguments, **options)
    await engine.dispose()
    return [one for one in sent if one[0].startswith("SELECT")]


async def plan_of(url: str, name: str, *arguments: Any, **options: Any) -> Plan:
    """Return the plan of the one statement of a call."""
    sent = await sent_by(url, name, *arguments, **options)
    (plan,) = await on_connection(url, lambda connection: explain(connection, sent, small=True))
    print(plan)
    return plan


SEARCHES: Final[list[dict[str, Any]]] = [
    {"namespace_prefix": ("acme",)},
    {"namespace_prefix": ("acme", "user-1")},
    {"namespace_prefix": (_LONG,)},
]
LISTS: Final[list[dict[str, Any]]] = [
    {"prefix": ("acme",)},
    {"prefix": ("acme",), "max_depth": 1},
    {"prefix": ("acme", "*"), "suffix": ("*",)},
    {"prefix": ("acme",), "suffix": ("user-1",), "max_depth": 2},
    {"prefix": (_LONG, "*"), "max_depth": 1},
]
READINGS: Final = [
    *(("asearch", options) for options in SEARCHES),
    *(("alist_namespaces", options) for options in LISTS),
]


def arguments_of(options: dict[str, Any]) -> tuple[Any, ...]:
    """Remove and return the argument that has no keyword."""
    return (options.pop("namespace_prefix"),) if "namespace_prefix" in options else ()


@pytest.mark.parametrize(("name", "options"), READINGS)
async def test_a_prefix_is_found_by_its_range_of_the_index(
    among_others: str, name: str, options: dict[str, Any]
) -> None:
    options = dict(options)
    plan = await plan_of(among_others, name, *arguments_of(options), **options)
    (step,) = plan.steps
    assert (step.key, step.whole) == ("ix_threadlog_store_namespace", False), plan


async def test_an_item_is_found_by_its_primary_key(among_others: str) -> None:
    (step,) = (await plan_of(among_others, "aget", ("acme", "user-1"), "k")).steps
    assert str(step.key).endswith(("PRIMARY", "_pkey")), step


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *READINGS,
        ("asearch", {"namespace_prefix": ("acme",), "filter": {"n": 3}}),
        ("asearch", {"namespace_prefix": ("acme",), "filter": {"n": {"$gt": 3}}}),
    ],
)
async def test_a_prefix_reads_the_rows_of_its_range_alone(
    among_others: str, name: str, options: dict[str, Any]
) -> None:
    if among_others.startswith("postgresql"):
        return  # it does not count the rows that it reads
    options = dict(options)
    ((statement, parameters),) = await sent_by(
        among_others, name, *arguments_of(options), **options
    )
    read = await on_connection(among_others, lambda c: rows_read(c, statement, parameters))
    print(f"{read} rows read")
    assert read < 100


async def test_export_finds_a_namespace_by_its_range(among_others: str) -> None:
    """On each page, the second of which begins after the last item of the first."""
    engine = host_engine(among_others)

    def read(session: Session) -> int:
        with JoinedUnitOfWork(session, part=STORE) as uow:
            page = uow.store_items.keys("acme.", after=None, limit=15)
            return len(page + uow.store_items.keys("acme.", after=page[-1], limit=15))

    with recorded([engine.sync_engine]) as sent:
        async with AsyncSession(engine) as session:
            found = await session.run_sync(read)
    await engine.dispose()
    assert found == 20
    pages = [one for one in sent if "FROM threadlog_store" in one[0]]
    assert len(pages) == 2
    for plan in await on_connection(among_others, lambda c: explain(c, pages, small=True)):
        (step,) = plan.steps
        assert (step.key, step.whole) == ("ix_threadlog_store_namespace", False), plan
    if not among_others.startswith("postgresql"):
        rows = await on_connection(among_others, lambda c: [rows_read(c, *one) for one in pages])
        assert max(rows) < 100


@pytest.mark.parametrize(("name", "options"), READINGS)
@pytest.mark.sqlite
async def test_sqlite_finds_a_prefix_by_its_range(
    sqlite_url: str, name: str, options: dict[str, Any]
) -> None:
    async with Store(sqlite_url) as store:
        await store.aput(("acme", "user-1"), "k", {"n": 1})
        await store.aput((_LONG, "a"), "k", {"n": 1})
    options = dict(options)
    ((statement, parameters),) = await sent_by(sqlite_url, name, *arguments_of(options), **options)
    async with open_engine(sqlite_url, STORE) as engine, engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plan = [str(row) for row in rows]
    print(plan)
    assert "USING INDEX ix_threadlog_store_namespace (namespace_start" in plan[0]
