"""The conformance suite, on our store and on those of LangGraph."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from pathlib import Path
from typing import Any, Final

import pytest
from langgraph.store.base import BaseStore, TTLConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore, PostgresStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from tests.store.ways import WAYS
from threadlog.testing import STORE_RULES, store_conformance

KNOWN: Final = {
    "`InMemoryStore`": {
        *("copies", "times", "delete", "not_json", "batch_whole", "labels_in_batch", "equality"),
        *("nested", "missing", "not_equal", "comparison", "large_numbers", "text_order", "order"),
        *("expiry", "refresh", "permanent"),
    },
    "`SqliteStore`": {
        *("times", "delete", "not_json", "equality", "nested", "missing", "not_equal"),
        *("comparison", "large_numbers", "awkward_filters", "order", "expiry", "refresh"),
    },
    "`PostgresStore`": {
        *("values", "not_json", "nested", "not_equal", "comparison", "pages", "refresh"),
    },
}
"""The rules that the stores of LangGraph 1.2.24 do not keep; docs/store.md shows them."""

# Broken only if two writes have the same time, or have not.
_BY_CHANCE: Final = {"order", "pages", "expiry", "refresh", "delete"}

_TTL: Final[TTLConfig] = {"omit_expired": True}


async def conform(way_name: str, url: str) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[BaseStore]:
        async with WAYS[way_name](url) as opened:
            yield opened.store

    results = await store_conformance(factory, synchronous=way_name.endswith("sync"))
    assert [result.rule for result in results] == list(STORE_RULES)
    assert {result.rule: result.error for result in results if result.error} == {}


@pytest.mark.parametrize("opened", ["own", "own_sync"])
async def test_every_rule_is_kept_on_every_database(opened: str, store_url: str) -> None:
    await conform(opened, store_url)


@pytest.mark.one_database
@pytest.mark.parametrize("opened", ["engine", "engine_sync", "joined"])
async def test_every_rule_is_kept_on_an_engine_and_in_sessions(opened: str, store_url: str) -> None:
    await conform(opened, store_url)


async def broken(factory: Callable[[], Any], *, synchronous: bool) -> set[str]:
    """Return the rules that a store does not keep."""
    results = await store_conformance(factory, synchronous=synchronous)
    return {result.rule for result in results if result.error}


@pytest.mark.parametrize("synchronous", [False, True])
async def test_rules_that_the_store_in_memory_breaks_are_known(synchronous: bool) -> None:  # noqa: FBT001 - a parameter
    found = await broken(lambda: nullcontext(InMemoryStore()), synchronous=synchronous)
    assert found == KNOWN["`InMemoryStore`"]


@pytest.mark.filterwarnings("ignore:The default datetime adapter")  # LangGraph's, from Python 3.12
@pytest.mark.parametrize("synchronous", [False, True])
async def test_rules_that_langgraphs_store_on_sqlite_breaks_are_known(synchronous: bool) -> None:  # noqa: FBT001 - a parameter
    kind: Any = SqliteStore if synchronous else AsyncSqliteStore
    opened = kind.from_conn_string(":memory:", ttl=_TTL)
    found = await broken(lambda: set_up(opened), synchronous=synchronous)
    assert found ^ KNOWN["`SqliteStore`"] <= _BY_CHANCE


@pytest.mark.parametrize("synchronous", [False, True])
async def test_rules_that_langgraphs_store_on_postgres_breaks_are_known(
    synchronous: bool,  # noqa: FBT001 - a parameter
    postgres_database: str,
) -> None:
    kind: Any = PostgresStore if synchronous else AsyncPostgresStore
    opened = kind.from_conn_string(postgres_database, ttl=_TTL)
    found = await broken(lambda: set_up(opened), synchronous=synchronous)
    assert found ^ KNOWN["`PostgresStore`"] <= _BY_CHANCE


@asynccontextmanager
async def set_up(
    opened: AbstractAsyncContextManager[Any] | AbstractContextManager[Any],
) -> AsyncIterator[BaseStore]:
    """Open a store of LangGraph's, and create its tables."""
    if isinstance(opened, AbstractAsyncContextManager):
        async with opened as store:
            await store.setup()
            yield store
    else:
        with opened as store:
            store.setup()
            yield store


async def test_a_rule_that_is_not_kept_has_its_error() -> None:
    class Forgetful(InMemoryStore):
        async def abatch(self, ops: Any) -> Any:
            await asyncio.sleep(0)
            return [None for _ in ops]

    results = await store_conformance(lambda: nullcontext(Forgetful()))
    (result,) = [result for result in results if result.rule == "get"]
    assert "'NoneType'" in str(result.error)
    assert result.text == STORE_RULES["get"]


def test_the_documentation_has_the_table() -> None:
    lines = [f"| rule | threadlog | {' | '.join(KNOWN)} |", "|---|---|---|---|---|"]
    for rule, text in STORE_RULES.items():
        kept = ["✓", *("—" if rule in known else "✓" for known in KNOWN.values())]
        lines.append(f"| {text.replace('|', '')} | {' | '.join(kept)} |")
    total = len(STORE_RULES)
    counts = [total, *(total - len(known) for known in KNOWN.values())]
    lines.append(f"| kept of {total} | {' | '.join(map(str, counts))} |")
    table = "\n".join(lines)
    print(table)
    page = Path(__file__).parents[2] / "docs" / "store.md"
    assert table in page.read_text(encoding="utf-8")
