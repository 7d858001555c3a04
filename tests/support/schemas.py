"""Helpers for tests of migrations."""

import re
from typing import Any, Final

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, text

import threadlog.migrations.plugin  # noqa: F401 - as a host's env.py does
from tests.support.databases import on_connection
from tests.support.postgres_schemas import described, partitions
from threadlog import Checkpointer
from threadlog.graph.client import GraphClient
from threadlog.migrations.history.search import FULL_TEXT_TABLES
from threadlog.models import ALL_PARTS, CONTROL, MESSAGES, SEARCH, SchemaPart, cubepi_metadata

TABLES: Final = sorted(cubepi_metadata.tables)
OWN_TABLE: Final = "threadlog_alembic_version"
PARTITIONS: Final = "PARTITION BY KEY (thread_id) PARTITIONS 64"

# The framework's tables, in our words, and since which version each has what: ids of runs and
# questions have the database's collation, threads.run_id is short, and there are fewer indexes.
_FOREIGN_ID: Final = "VARCHAR(255) COLLATE utf8mb4_bin"
_NOW: Final = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
_FRAMEWORK: Final = f"""
CREATE TABLE cubepi_threads (
    thread_id {_FOREIGN_ID} NOT NULL PRIMARY KEY,
    parent_thread_id {_FOREIGN_ID} NULL,
    forked_at_seq BIGINT NULL,
    extra JSON NOT NULL DEFAULT (JSON_OBJECT()),
    pending_request JSON NULL, -- since 2
    run_id VARCHAR(64) NULL, -- since 3
    created_at {_NOW},
    updated_at {_NOW} ON UPDATE CURRENT_TIMESTAMP,
    FOREIGN KEY (parent_thread_id) REFERENCES cubepi_threads (thread_id)
) ENGINE=InnoDB;
CREATE TABLE cubepi_messages (
    thread_id {_FOREIGN_ID} NOT NULL,
    seq BIGINT NOT NULL,
    role VARCHAR(32) NOT NULL,
    metadata JSON NOT NULL DEFAULT (JSON_OBJECT()),
    payload LONGBLOB NOT NULL,
    run_id VARCHAR(255) NULL, -- since 4
    created_at {_NOW},
    KEY ix_cubepi_messages_thread_run (thread_id, run_id), -- since 4
    PRIMARY KEY (thread_id, seq)
) ENGINE=InnoDB {PARTITIONS};
CREATE TABLE cubepi_runs ( -- since 4
    thread_id {_FOREIGN_ID} NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    claimed_at {_NOW},
    completed_at TIMESTAMP NULL,
    completion_seq BIGINT NULL,
    KEY ix_cubepi_runs_thread_seq (thread_id, completion_seq),
    PRIMARY KEY (thread_id, run_id)
) ENGINE=InnoDB {PARTITIONS};
CREATE TABLE cubepi_hitl_answers ( -- since 5
    thread_id {_FOREIGN_ID} NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    question_id VARCHAR(255) NOT NULL,
    answer JSON NOT NULL,
    answered_at {_NOW},
    PRIMARY KEY (thread_id, run_id, question_id)
) ENGINE=InnoDB;
CREATE TABLE cubepi_schema_version (
    version INT NOT NULL AUTO_INCREMENT PRIMARY KEY
) ENGINE=InnoDB;
"""


def framework(version: int) -> str:
    """Return the script of the framework's tables at one of its schema versions, 1 to 5."""
    statements = [
        "\n".join(line for line in statement.strip().splitlines() if _since(line) <= version)
        for statement in _FRAMEWORK.split(";")
        if statement.strip() and _since(statement.strip().splitlines()[0]) <= version
    ]
    statements.append(f"INSERT INTO cubepi_schema_version VALUES ({version})")
    return re.sub(r" -- since \d", "", ";\n".join(statements))


def _since(line: str) -> int:
    """Return the first version that has a line."""
    marked = re.search(r"-- since (\d)$", line)
    return int(marked[1]) if marked else 1


FRAMEWORK: Final = framework(5)

HOST_ENV: Final = """
from alembic import context

connection, metadata = context.config.attributes["host"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
"""


async def run(url: str, *statements: str) -> None:
    """Execute statements, each by itself, in one connection."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    await on_connection(url, work)


async def definitions(url: str, part: SchemaPart = MESSAGES) -> dict[str, str]:
    """Return the database's own definition of each of a part's tables."""

    def work(connection: Connection) -> dict[str, str]:
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT name, tbl_name, sql FROM sqlite_master")
            return {name: _tidy(sql or "") for name, table, sql in rows if table in part.tables}
        if connection.dialect.name == "postgresql":
            return {table: described(connection, table) for table in sorted(part.tables)}
        return {
            table: _sort_keys(connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1])
            for table in sorted(part.tables)
        }

    return await on_connection(url, work)


def _sort_keys(sql: str) -> str:
    """Undo the order in which indexes came: a `Table` keeps its own in a set."""
    pattern = re.compile(r"^  KEY .*?(?=,?$)", re.MULTILINE)
    keys = iter(sorted(pattern.findall(sql)))
    return pattern.sub(lambda _: next(keys), sql)


def _tidy(sql: str) -> str:
    """Undo what SQLite keeps of how a definition was written."""
    return " ".join(sql.split()).replace("(CURRENT_TIMESTAMP)", "CURRENT_TIMESTAMP")


def needed_by(part: SchemaPart) -> list[SchemaPart]:
    """Return the other parts that a part refers to."""
    return [MESSAGES] if part in {CONTROL, SEARCH} else []


async def tables(url: str, part: SchemaPart | None = None) -> set[str]:
    """Return the names of a database's tables, without partitions and full text indexes.

    Args:
        url: the database.
        part: a part of the schema: without the tables of the parts that it needs.
    """
    needed = {
        name
        for each in (needed_by(part) if part else ())
        for name in (*each.tables, each.revision_table)
    }

    def work(connection: Connection) -> set[str]:
        found = set(inspect(connection).get_table_names())
        return found - partitions(connection) - FULL_TEXT_TABLES - needed

    return await on_connection(url, work)


async def version_rows(url: str, part: SchemaPart = MESSAGES) -> list[int]:
    """Read a part's version table."""
    query = text(f"SELECT version FROM {part.version_table.name}")
    return await on_connection(url, lambda connection: list(connection.scalars(query)))


async def differences(url: str, part: SchemaPart = MESSAGES) -> list[Any]:
    """Compare a database with a part's models as an application's autogenerate would.

    Tables of other parts may be there.
    """
    others = {
        name
        for other in ALL_PARTS
        if other is not part
        for name in (*other.tables, other.revision_table)
    }

    def work(connection: Connection) -> list[Any]:
        options = {
            "include_name": lambda name, kind, parents: kind != "table" or name not in others,
            "version_table": part.revision_table,
            "compare_type": True,
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, part.metadata))

    return await on_connection(url, work)


_EXPECTED: Final[dict[tuple[str, str], dict[str, str]]] = {}
"""By server and part, as a server creates the partitioned tables slowly."""


async def expected(url: str, part: SchemaPart = MESSAGES) -> dict[str, str]:
    """Return what `definitions` returns of tables that the models create in an empty database."""
    parsed = make_url(url)
    server = f"{parsed.drivername} {parsed.host} {parsed.port}"
    if (server, part.name) not in _EXPECTED:
        _EXPECTED[server, part.name] = await _create_and_look(url, part)
    return dict(_EXPECTED[server, part.name])


async def _create_and_look(url: str, part: SchemaPart) -> dict[str, str]:
    every = [*needed_by(part), part]
    for each in every:
        await on_connection(url, each.metadata.create_all)
    found = await definitions(url, part)
    for each in reversed(every):
        await on_connection(url, each.metadata.drop_all)
    return found


def statements_of(sql: str) -> list[str]:
    """Split a script at the semicolons that end its statements.

    Comments are left out, and what begins and ends transactions: drivers do that themselves.
    """
    plain = re.sub(r"^--.*$", "", sql, flags=re.MULTILINE)
    parts = re.findall(r"(?:\$\$.*?\$\$|\bBEGIN INSERT .*?; END|[^;])+", plain, flags=re.DOTALL)
    return [part.strip() for part in parts if part.strip() not in {"", "BEGIN", "COMMIT"}]


async def opens(url: str, part: SchemaPart = MESSAGES) -> None:
    """Use what opens to a part; raises what using it raises."""
    if part is not MESSAGES:
        await _use_graph_client(url, part)
        return
    async with Checkpointer(url):
        pass


async def _use_graph_client(url: str, part: SchemaPart) -> None:
    client = GraphClient(url, part=part)
    await client.open()
    try:
        await client.read(lambda store: None)
    finally:
        await client.close()
