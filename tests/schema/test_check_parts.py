"""The results of checking the parts of the schema, above all the graph state."""

import pytest

from tests.support.schemas import run
from threadlog.models import PartName
from threadlog.schema.check import CheckResult, check_database
from threadlog.schema.migrate import upgrade

FOLDING = "COLLATE utf8mb4_general_ci"
ONCE = ["connection", "server"]
LAYOUT_OF_MESSAGES = {
    "mysql": ["engine", "partitions", "collation"],
    "mariadb": ["engine", "partitions", "collation"],
    "postgresql": ["types", "keys", "collation", "partitions", "metadata"],
    "sqlite": [],
}
LAYOUT_OF_GRAPHS = {
    "mysql": ["engine", "collation"],
    "mariadb": ["engine", "collation"],
    "postgresql": ["types", "keys", "collation"],
    "sqlite": [],
}


def with_layout(layouts: dict[str, list[str]], url: str) -> list[str]:
    """Return the names of a part's checks on the database of a URL."""
    return ["schema", "columns", *layouts[url.partition(":")[0]], "index", "access"]


@pytest.fixture
async def graph_url(innodb_database: str) -> str:
    """Return the URL of a MySQL database with graph state, a server's metadata and no messages."""
    await upgrade(innodb_database, part="graph")
    await upgrade(innodb_database, part="metadata")
    return innodb_database


async def faults(url: str) -> list[CheckResult]:
    """Return the check results that are not ok."""
    return [finding for finding in await check_database(url) if finding.status != "ok"]


def checks(findings: list[CheckResult]) -> list[str]:
    """Return the names of the checks."""
    assert {finding.status for finding in findings} == {"ok"}
    return [finding.check for finding in findings]


async def test_all_parts_are_looked_at_where_all_are(empty_url: str) -> None:
    """A database gets one report, whose lines name their part."""
    await upgrade(empty_url)
    findings = await check_database(empty_url)
    messages = with_layout(LAYOUT_OF_MESSAGES, empty_url)
    graph = with_layout(LAYOUT_OF_GRAPHS, empty_url)
    assert checks(findings) == [*ONCE, *messages, *graph, *graph, *graph, *graph]
    first = 2 + len(messages)
    second, third, fourth = (first + number * len(graph) for number in (1, 2, 3))
    for place, finding in enumerate(findings):
        assert (" of the graph state " in finding.message) is (first <= place < second)
        assert (" of the memory store " in finding.message) is (second <= place < third)
        assert (" of thread control " in finding.message) is (third <= place < fourth)
        assert (" of the server metadata " in finding.message) is (fourth <= place)


async def test_the_part_that_is_there_is_looked_at(empty_url: str) -> None:
    """Nobody is told to make a part that they do not use."""
    await upgrade(empty_url, part="graph")
    found = checks(await check_database(empty_url))
    assert found == [*ONCE, *with_layout(LAYOUT_OF_GRAPHS, empty_url)]
    assert checks(await check_database(empty_url, part="graph")) == found


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("part", "other", "meant"),
    [
        ("messages", "graph", "for messages"),
        ("graph", "messages", "for the state of graphs"),
        ("store", "messages", "for the memory store"),
        ("control", "messages", "for owners, leases, append keys and truncations"),
    ],
)
async def test_a_part_that_is_named_is_looked_at(
    empty_url: str, part: PartName, other: PartName, meant: str
) -> None:
    """A part that was asked for is reported as missing, and the other is skipped."""
    await upgrade(empty_url, part=other)
    found = await check_database(empty_url, part=part)
    (fault,) = [finding for finding in found if finding.status != "ok"]
    assert (fault.check, fault.status) == ("schema", "error")
    assert f"none of threadlog's tables {meant}" in fault.message
    await upgrade(empty_url, part=part)
    named = await check_database(empty_url, part=part)
    both = await check_database(empty_url)
    assert [finding for finding in both if finding in named] == named
    assert len(named) < len(both)


@pytest.mark.parametrize(
    ("harm", "status", "check", "told"),
    [
        (
            (
                f"ALTER TABLE threadlog_checkpoints MODIFY checkpoint_id VARCHAR(255) {FOLDING} "
                "NOT NULL"
            ),
            "error",
            "collation",
            (
                "threadlog_checkpoints.checkpoint_id: the collation is utf8mb4_general_ci, not "
                "utf8mb4_bin; two rows whose ids it treats as equal"
            ),
        ),
        (
            (
                f"ALTER TABLE threadlog_checkpoint_writes MODIFY thread_id VARCHAR(255) {FOLDING} "
                "NOT NULL"
            ),
            "error",
            "collation",
            "two threads whose ids it treats as equal",
        ),
        (
            (
                "ALTER TABLE threadlog_checkpoint_blobs MODIFY blob_key CHAR(64) "
                "CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL"
            ),
            "error",
            "collation",
            "threadlog_checkpoint_blobs.blob_key: the collation is ascii_general_ci, not ascii_bin",
        ),
        (
            "ALTER TABLE threadlog_graph_version ENGINE=MyISAM",
            "error",
            "engine",
            "threadlog_graph_version uses the engine MyISAM",
        ),
        (
            "DROP INDEX idx_app_threads_updated_at ON app_threads",
            "warning",
            "index",
            (
                "idx_app_threads_updated_at is missing: queries that need it read the "
                "whole of app_threads"
            ),
        ),
    ],
)
async def test_a_fault_is_reported_and_its_remedy_mends_it(
    graph_url: str, harm: str, status: str, check: str, told: str
) -> None:
    await run(graph_url, harm)
    (fault,) = await faults(graph_url)
    assert (fault.status, fault.check) == (status, check)
    assert told in fault.message
    await run(graph_url, fault.remedy)
    assert await faults(graph_url) == []


async def test_no_remedy_is_shown_that_would_be_refused(graph_url: str) -> None:
    folding = "CHAR(36) CHARACTER SET ascii COLLATE ascii_general_ci NOT NULL"
    await run(
        graph_url,
        "ALTER TABLE app_runs DROP FOREIGN KEY app_runs_ibfk_1",
        f"ALTER TABLE app_threads MODIFY thread_id {folding}",
        f"ALTER TABLE app_runs MODIFY thread_id {folding}",
    )
    found = await faults(graph_url)
    assert [fault.message.split(":")[0] for fault in found] == [
        "app_runs.thread_id",
        "app_threads.thread_id",
    ]
    for fault in found:
        assert fault.remedy == ""
        assert "A foreign key refers to a column" in fault.message


async def test_missing_tables_and_columns_are_named(graph_url: str) -> None:
    await run(graph_url, "DROP TABLE app_runs")
    (fault,) = await faults(graph_url)
    assert fault.message == "The table app_runs is missing. Run: threadlog migrate URL"
    await run(graph_url, "ALTER TABLE app_threads DROP COLUMN ttl")
    runs, threads = await faults(graph_url)
    assert runs.message == "The table app_runs is missing."
    assert "app_threads lacks ttl" in threads.message


async def test_a_version_of_one_part_says_nothing_of_the_other(innodb_url: str) -> None:
    """The fault is that part's, with both versions named."""
    await upgrade(innodb_url)
    await run(innodb_url, "UPDATE threadlog_graph_version SET version = 2")
    (fault,) = await faults(innodb_url)
    assert fault.check == "schema"
    assert "schema version 2; 1 is needed" in fault.message


async def test_beside_an_applications_history_its_own_migration_is_advised(
    empty_url: str,
) -> None:
    await run(empty_url, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    (fault,) = await faults(empty_url)
    assert fault.check == "schema"
    assert "op.create_threadlog_schema(version=5) in a migration of its own" in fault.message
    await upgrade(empty_url, part="graph")
    await run(empty_url, "DROP TABLE threadlog_checkpoint_blobs")
    (missing,) = await faults(empty_url)
    assert "Run: threadlog migrate URL" in missing.message
    await run(empty_url, "DROP TABLE threadlog_graph_alembic_version")
    (missing,) = await faults(empty_url)
    assert missing.message.startswith("The table threadlog_checkpoint_blobs is missing. The data")
    assert "op.create_threadlog_graph_schema(version=1)" in missing.message
    assert "threadlog migrate" not in missing.message
