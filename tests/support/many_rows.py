"""Fill a database with thousands of rows, made by the database itself from its digits."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import CTE, Connection, literal_column, select, union_all

from tests.support.databases import engine_for


def digits() -> CTE:
    """Return the table of the digits: 0 to 9 in the column ``d``."""
    rows: list[Any] = [select(literal_column(str(digit)).label("d")) for digit in range(10)]
    return union_all(*rows).cte("digit")


def numbers(digit: CTE, count: int) -> Any:
    """Return the column of all numbers with so many digits, for a SELECT from their product."""
    places = [digit.alias(f"place{place}") for place in range(count)]
    return sum(each.c.d * 10**place for place, each in enumerate(places))


async def fill_by(url: str, fill: Callable[[Connection], None]) -> None:
    """Run a function that selects from products of tables, of which SQLAlchemy would warn."""
    engine = engine_for(url, enable_from_linting=False)
    async with engine.begin() as connection:
        await connection.run_sync(fill)
    await engine.dispose()
