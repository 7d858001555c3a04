"""How MySQL and MariaDB find what a statement reads."""

from typing import Any

from sqlalchemy import Connection

from tests.databases import on_connection

_EXPLAIN = {"mysql": "EXPLAIN FORMAT=TRADITIONAL", "mariadb": "EXPLAIN PARTITIONS"}
_READ = "SHOW SESSION STATUS WHERE variable_name LIKE 'Handler_read%%'"


async def plan_of(url: str, statement: str) -> list[dict[str, Any]]:
    """Give the steps of the server's plan for a statement without parameters.

    Args:
        url: the database, of either.
        statement: the statement.
    """
    sql = f"{_EXPLAIN[url.partition(':')[0]]} {statement.replace('%', '%%')}"
    return await on_connection(
        url, lambda c: [dict(step) for step in c.exec_driver_sql(sql).mappings()]
    )


async def rows_read(url: str, statement: str) -> int:
    """Run a statement, and count the rows and keys that the server read for it."""

    def work(connection: Connection) -> int:
        connection.exec_driver_sql("FLUSH STATUS")
        connection.exec_driver_sql(statement.replace("%", "%%")).all()
        return sum(int(value) for _, value in connection.exec_driver_sql(_READ))

    return await on_connection(url, work)
