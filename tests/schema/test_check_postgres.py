"""The results of checking PostgreSQL: every fault by its name, and how to correct it."""

import pytest

from tests.support.databases import on_connection
from tests.support.schemas import run, statements_of
from threadlog.models import graph_metadata, server_metadata
from threadlog.schema.check import CheckResult, check_database
from threadlog.schema.migrate import upgrade, upgrade_sql

CHECKS = [
    "connection",
    "server",
    "schema",
    "columns",
    "types",
    "keys",
    "collation",
    "partitions",
    "metadata",
    "index",
    "access",
]
UNPARTITIONED = [
    "CREATE TABLE other (LIKE cubepi_runs INCLUDING ALL)",
    "ALTER TABLE other ADD FOREIGN KEY (thread_id) REFERENCES cubepi_threads ON DELETE CASCADE",
    "DROP TABLE cubepi_runs",
    "ALTER TABLE other RENAME TO cubepi_runs",
]
FEWER = [
    *(f"DROP TABLE cubepi_runs_p{place:02d}" for place in range(64)),
    *(
        f"CREATE TABLE runs_{place} PARTITION OF cubepi_runs "
        f"FOR VALUES WITH (modulus 2, remainder {place})"
        for place in range(2)
    ),
]
ANSWERS = "ALTER TABLE cubepi_hitl_answers"
ANSWERS_KEY = "cubepi_hitl_answers_thread_id_fkey"
FOLDING = (
    "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
)


async def faults(url: str) -> list[CheckResult]:
    """Return the check results that are not ok."""
    return [finding for finding in await check_database(url) if finding.status != "ok"]


async def test_a_good_database_is_ok(postgres_url: str) -> None:
    """Every check runs, once, and finds nothing."""
    findings = await check_database(postgres_url)
    assert [finding.check for finding in findings] == CHECKS
    assert {finding.status for finding in findings} == {"ok"}
    (server,) = (finding for finding in findings if finding.check == "server")
    assert "PostgreSQL" in server.message


@pytest.mark.parametrize(
    ("harm", "status", "check", "told"),
    [
        (
            ["DROP TABLE cubepi_messages_p05", "DROP TABLE cubepi_messages_p63"],
            "error",
            "partitions",
            "cubepi_messages lacks partitions (cubepi_messages_p05, cubepi_messages_p63)",
        ),
        (
            ["ALTER TABLE cubepi_messages DROP CONSTRAINT cubepi_messages_thread_id_fkey"],
            "error",
            "keys",
            (
                "cubepi_messages lacks its foreign key (thread_id) REFERENCES cubepi_threads "
                "(thread_id) ON DELETE CASCADE"
            ),
        ),
        (
            [
                f"{ANSWERS} DROP CONSTRAINT {ANSWERS_KEY}",
                f"{ANSWERS} ADD FOREIGN KEY (thread_id) REFERENCES cubepi_threads (thread_id)",
            ],
            "error",
            "keys",
            "cubepi_hitl_answers lacks its foreign key (thread_id)",
        ),
        (
            ["ALTER TABLE cubepi_threads DROP CONSTRAINT cubepi_threads_parent_thread_id_fkey"],
            "error",
            "keys",
            (
                "cubepi_threads lacks its foreign key (parent_thread_id) REFERENCES cubepi_threads "
                "(thread_id)."
            ),
        ),
        (
            ["DROP INDEX ix_cubepi_messages_metadata_gin"],
            "warning",
            "metadata",
            "The index of messages' metadata is missing",
        ),
        (
            ["DROP INDEX ix_cubepi_threads_recent"],
            "warning",
            "index",
            "ix_cubepi_threads_recent is missing",
        ),
        (
            ["DROP INDEX ix_cubepi_threads_waiting"],
            "warning",
            "index",
            "ix_cubepi_threads_waiting is missing",
        ),
        (
            ["DROP INDEX ix_cubepi_threads_parent"],
            "warning",
            "index",
            "ix_cubepi_threads_parent is missing: deleting a thread reads",
        ),
        (
            [
                (
                    "ALTER TABLE cubepi_threads "
                    'ALTER parent_thread_id TYPE TEXT COLLATE "default", '
                    'ALTER run_id TYPE TEXT COLLATE "default"'
                )
            ],
            "error",
            "collation",
            "cubepi_threads.parent_thread_id, run_id: the collation is default, not C",
        ),
    ],
)
async def test_a_fault_is_reported_and_its_remedy_mends_it(
    postgres_url: str, harm: list[str], status: str, check: str, told: str
) -> None:
    await run(postgres_url, *harm)
    (fault,) = await faults(postgres_url)
    assert (fault.status, fault.check) == (status, check)
    assert told in fault.message
    await run(postgres_url, *fault.remedy.split("; "))
    assert await faults(postgres_url) == []


@pytest.mark.parametrize(
    ("harm", "check", "told"),
    [
        (UNPARTITIONED, "partitions", "cubepi_runs is not partitioned; it must have 64 by HASH"),
        (FEWER, "partitions", "cubepi_runs has a partition that is not one of 64 by hash"),
        (
            ["ALTER TABLE cubepi_hitl_answers ALTER answer TYPE JSON"],
            "types",
            "cubepi_hitl_answers.answer is JSON; it must be JSONB.",
        ),
        (
            ["ALTER TABLE cubepi_threads ALTER created_at TYPE TIMESTAMP"],
            "types",
            "cubepi_threads.created_at is TIMESTAMP WITHOUT TIME ZONE; it must be TIMESTAMP WITH",
        ),
        (
            [
                "ALTER TABLE cubepi_hitl_answers DROP CONSTRAINT cubepi_hitl_answers_pkey",
                "ALTER TABLE cubepi_hitl_answers ADD PRIMARY KEY (thread_id, question_id)",
            ],
            "keys",
            (
                "The primary key of cubepi_hitl_answers is thread_id, question_id; it must be "
                "thread_id, run_id, question_id."
            ),
        ),
        (
            [
                FOLDING,
                "ALTER TABLE cubepi_hitl_answers ALTER question_id TYPE TEXT COLLATE folding",
            ],
            "collation",
            "cubepi_hitl_answers.question_id: the collation is folding, not C",
        ),
    ],
)
async def test_a_fault_that_is_not_mended_by_a_statement_is_reported(
    postgres_url: str, harm: list[str], check: str, told: str
) -> None:
    await run(postgres_url, *harm)
    (fault,) = await faults(postgres_url)
    assert (fault.status, fault.check) == ("error", check)
    assert told in fault.message


async def test_every_fault_is_reported_at_once(postgres_url: str) -> None:
    """The first fault does not hide the others, and types of rows do not either."""
    await run(
        postgres_url,
        "UPDATE cubepi_schema_version SET version = 4",
        "ALTER TABLE cubepi_threads DROP COLUMN forked_at_seq",
        "DROP TABLE cubepi_hitl_answers",
        "DROP TABLE cubepi_messages",
        "DROP TABLE cubepi_runs_p00",
        "DROP INDEX ix_cubepi_threads_recent",
    )
    found = [(fault.check, fault.status) for fault in await faults(postgres_url)]
    assert found == [
        ("schema", "error"),
        *[("columns", "error")] * 3,
        ("partitions", "error"),
        ("index", "warning"),
    ]


async def test_ids_that_fold_are_an_error(postgres_database: str) -> None:
    await run(postgres_database, FOLDING)
    script = upgrade_sql(postgres_database, part="messages").replace('"C"', "folding")
    await run(postgres_database, *statements_of(script))
    (fault,) = await faults(postgres_database)
    assert (fault.check, fault.status) == ("collation", "error")
    assert "the collation folding, which treats different ones as equal" in fault.message


async def test_graph_faults_are_reported(postgres_database: str) -> None:
    await upgrade(postgres_database, part="graph")
    await upgrade(postgres_database, part="metadata")
    assert await faults(postgres_database) == []
    await run(
        postgres_database,
        "ALTER TABLE app_runs DROP CONSTRAINT app_runs_thread_id_fkey",
        'ALTER TABLE threadlog_checkpoints ALTER checkpoint_id TYPE TEXT COLLATE "default"',
        "ALTER TABLE app_threads ALTER metadata TYPE JSON",
    )
    collation, types, keys = await faults(postgres_database)
    assert types.message == "app_threads.metadata is JSON; it must be JSONB."
    assert "app_runs lacks its foreign key (thread_id) REFERENCES app_threads" in keys.message
    assert "threadlog_checkpoints.checkpoint_id: the collation is default" in collation.message
    await run(
        postgres_database,
        keys.remedy,
        collation.remedy,
        "ALTER TABLE app_threads ALTER metadata TYPE JSONB",
    )
    assert await faults(postgres_database) == []
    for metadata in (graph_metadata, server_metadata):
        await on_connection(postgres_database, metadata.drop_all)


async def test_an_empty_database_is_one_fault(postgres_database: str) -> None:
    """Nothing is said of tables that are not there."""
    (fault,) = await faults(postgres_database)
    assert fault.check == "schema"
    assert "Run: threadlog migrate URL" in fault.message
