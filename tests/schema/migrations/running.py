"""Migrating one part, and taking things out of it."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, make_url

from tests.support.databases import on_connection
from tests.support.schemas import needed_by
from threadlog import migrating
from threadlog.models import ALL_PARTS, PartName, SchemaPart
from threadlog.schema.migrate import Outcome

_UUID: Final = "00000000-0000-4000-8000-000000000001"

ROWS: Final[dict[PartName, list[str]]] = {
    "messages": [
        "INSERT INTO cubepi_threads (thread_id, extra) VALUES ('a', '{}')",
        "INSERT INTO cubepi_threads (thread_id, parent_thread_id, extra) VALUES ('b', 'a', '{}')",
    ],
    "graph": [
        (
            "INSERT INTO threadlog_checkpoint_blobs (thread_id, ns_digest, blob_key, channel, "
            "version, type, value) VALUES ('t', 'a', 'b', 'c', '1', 'null', '')"
        ),
    ],
    "metadata": [
        (
            "INSERT INTO app_threads (thread_id, created_at, updated_at, metadata, config, status) "
            f"VALUES ('{_UUID}', '2026-01-01', '2026-01-01', "
            "'{}', '{}', 'idle')"
        ),
        (
            "INSERT INTO app_runs (run_id, thread_id, assistant_id, created_at, updated_at, "
            "status, metadata, kwargs, multitask_strategy) VALUES "
            f"('{_UUID}', '{_UUID}', 'x', '2026-01-01', '2026-01-01', "
            "'pending', '{}', '{}', 'reject')"
        ),
    ],
    "store": [
        (
            "INSERT INTO threadlog_store (item_digest, namespace_start, namespace, item_key, "
            "value, created_at, updated_at) VALUES "
            "('a', 'a.', 'a.', 'b', '{}', '2026-01-01', '2026-01-01')"
        ),
    ],
    "control": [
        "INSERT INTO cubepi_threads (thread_id, extra) VALUES ('a', '{}')",
        "INSERT INTO threadlog_owners VALUES ('a', 'ann')",
        "INSERT INTO threadlog_leases VALUES ('a', 'r', 1, '2026-01-01')",
        "INSERT INTO threadlog_append_keys VALUES ('a', 'k', 1, 2, '2026-01-01')",
        "INSERT INTO threadlog_truncations VALUES ('a', 2, 1, 1, NULL, '2026-01-01')",
    ],
    "search": [
        "INSERT INTO cubepi_threads (thread_id, extra) VALUES ('a', '{}')",
        (
            "INSERT INTO threadlog_search (thread_id, seq, place, kind, text) "
            "VALUES ('a', 1, 0, 'message', 'refund')"
        ),
        (
            "INSERT INTO threadlog_search (thread_id, seq, place, kind, tool_name) "
            "VALUES ('a', 1, 1, 'tool_call', 'look')"
        ),
    ],
}
"""Rows of each part, of which one needs another."""

LOSSES: Final = [
    (part, lost)
    for part in ALL_PARTS
    for lost in (
        "version row",
        *sorted(part.tables - {part.version_table.name}),
        *sorted(str(i.name) for t in part.metadata.tables.values() for i in t.indexes),
    )
]
"""Everything that can be lost of each part, its version table aside."""


async def prepare(url: str, part: SchemaPart) -> None:
    """Create the parts of the schema that a part needs."""
    for each in needed_by(part):
        await migrating.upgrade(url, part=each.name)


async def upgrade(url: str, part: SchemaPart) -> Outcome:
    """Upgrade one part, after the parts that it needs; return the outcome."""
    await prepare(url, part)
    outcomes = await migrating.upgrade(url, part=part.name)
    assert list(outcomes) == [part.name]
    return outcomes[part.name]


async def lose(url: str, part: SchemaPart, what: str) -> None:
    """Remove a table, an index or the version row from a migrated database."""
    await on_connection(url, _losing(part, what))


def _losing(part: SchemaPart, what: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        if connection.dialect.name in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
        if what == "version row":
            connection.exec_driver_sql(f"DELETE FROM {part.version_table.name}")
        elif what in part.tables:
            part.metadata.tables[what].drop(connection)
        else:
            of_models = {str(i.name): i for t in part.metadata.tables.values() for i in t.indexes}
            of_models[what].drop(connection)

    return work


def is_mysql(url: str) -> bool:
    """Return True if a URL is for MySQL or MariaDB."""
    return make_url(url).get_backend_name() in {"mysql", "mariadb"}


def fail(*args: object, **options: object) -> None:
    """Stand for a step that fails."""
    raise RuntimeError("broke off")
