"""How servers would find what statements ask for: their own plans, in one form for all."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, event

_EXPLAIN: Final = {
    "mysql": "EXPLAIN FORMAT=TRADITIONAL",
    "mariadb": "EXPLAIN PARTITIONS",
    "postgresql": "EXPLAIN (FORMAT JSON)",
    "sqlite": "EXPLAIN QUERY PLAN",
}
_ANALYZE: Final = {
    "mysql": "ANALYZE TABLE {}",
    "mariadb": "ANALYZE TABLE {}",
    "postgresql": "ANALYZE {}",
    "sqlite": "ANALYZE",
}
_SQLITE_STEP: Final = re.compile(r"(SCAN|SEARCH) (\S+)(?: USING (?:COVERING )?INDEX (\S+))?")
_READ: Final = "SHOW SESSION STATUS WHERE variable_name LIKE 'Handler_read%%'"
_PARTITION: Final = re.compile(r".+_p\d\d")

Sent = list[tuple[str, Any]]
"""Statements and their parameters, as a driver was given them."""


class Step(NamedTuple):
    """A table that is read."""

    table: str
    """Its name; on MySQL and MariaDB its alias, on PostgreSQL its partition's name."""

    partitions: tuple[str, ...]
    """Those that are looked into; none where the table has none."""

    key: str | None
    """The index that is used; None where there is none."""

    whole: bool
    """True if the table or index is read from one end, to the other unless something stops it."""


class Plan(NamedTuple):
    """How one statement is executed."""

    statement: str
    steps: list[Step]
    sorts: bool


@contextmanager
def recorded(engines: Iterable[Engine]) -> Iterator[Sent]:
    """Write down what is sent in the block, but for what is sent with many sets of parameters."""
    sent: Sent = []

    def record(c: object, cursor: object, statement: str, parameters: Any, *rest: Any) -> None:
        if not rest[-1]:  # "executemany"
            sent.append((statement, parameters))

    listening = list(engines)
    for engine in listening:
        event.listen(engine, "before_cursor_execute", record)
    try:
        yield sent
    finally:
        for engine in listening:
            event.remove(engine, "before_cursor_execute", record)


def analyze(connection: Connection, *tables: str) -> None:
    """Update the server's statistics of the tables, which determine its plans."""
    statement = _ANALYZE[connection.dialect.name].format(", ".join(tables))
    connection.exec_driver_sql(statement).close()


def explain(connection: Connection, sent: Sent, *, small: bool = False) -> list[Plan]:
    """Return the server's plan of each statement that reads a table.

    Args:
        connection: a connection to a server.
        sent: the statements.
        small: True if a table may be so small that PostgreSQL prefers to read all of it; its
            plan is then requested without sequential scans.
    """
    if small and connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    plans = [_explain(connection, statement, parameters) for statement, parameters in sent]
    return [plan for plan in plans if plan.steps]


def rows_read(connection: Connection, statement: str, parameters: Any) -> int:
    """Run a statement, and count the rows and keys that MySQL or MariaDB reads for it."""
    connection.exec_driver_sql("FLUSH STATUS").close()
    connection.exec_driver_sql(statement, parameters).all()
    return sum(int(value) for _, value in connection.exec_driver_sql(_READ))


def _explain(connection: Connection, statement: str, parameters: Any) -> Plan:
    name = connection.dialect.name
    result = connection.exec_driver_sql(f"{_EXPLAIN[name]} {statement}", parameters)
    if name == "postgresql":
        found = result.scalar_one()
        nodes = list(_nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"]))
        steps = [_step_of_node(node) for node in nodes if _reads(node)]
        return Plan(statement, steps, any(node["Node Type"] == "Sort" for node in nodes))
    if name == "sqlite":
        details = [row[-1] for row in result]
        found = [match for detail in details if (match := _SQLITE_STEP.match(detail))]
        steps = [Step(each[2], (), each[3], each[1] == "SCAN") for each in found]
        return Plan(statement, steps, any("TEMP B-TREE" in detail for detail in details))
    rows = [dict(row) for row in result.mappings()]
    steps = [_step_of_row(row) for row in rows if _is_read(row)]
    return Plan(statement, steps, any("filesort" in (row["Extra"] or "") for row in rows))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def _reads(node: dict[str, Any]) -> bool:
    return "Relation Name" in node and node["Node Type"] != "ModifyTable"


def _step_of_node(node: dict[str, Any]) -> Step:
    table = node["Relation Name"]
    looks = [inner for inner in _nodes(node) if "Index Name" in inner]
    partitions = (table,) if _PARTITION.fullmatch(table) else ()
    whole = not any("Index Cond" in look for look in looks)
    return Step(table, partitions, looks[0]["Index Name"] if looks else None, whole)


def _is_read(row: dict[str, Any]) -> bool:
    """Leave out what is inserted into, and what statements make themselves."""
    is_table = row["table"] is not None and not row["table"].startswith("<")
    is_made = "Table function" in (row["Extra"] or "")
    return is_table and not is_made and row["select_type"] != "INSERT"


def _step_of_row(row: dict[str, Any]) -> Step:
    partitions = tuple(row["partitions"].split(",")) if row["partitions"] else ()
    return Step(row["table"], partitions, row["key"], row["type"] in {"ALL", "index"})
