"""Generated columns of metadata: what they find, how, and what is refused."""

import json
from typing import Any

import pytest
from sqlalchemy import JSON, DateTime, Integer, LargeBinary, String, Text
from sqlalchemy.types import TypeEngine

from tests.support.processes import run_python
from tests.support.ways import ensure_schema
from threadlog.errors import InvalidInputError
from threadlog.models import metadata_column

# PostgreSQL reads a partition of few rows without its index.
COUNTS = {"mysql": 20_000, "mariadb": 20_000, "postgresql": 200_000, "sqlite": 20_000}
OF_COLUMNS = {"column": "ix_cubepi_messages_user_id", "number": "ix_cubepi_messages_score"}
OF_EXPRESSIONS = {
    "expression": "ix_cubepi_messages_user_id",
    "either": "ix_cubepi_messages_user_id",
    "number's expression": "ix_cubepi_messages_score",
}
# The others, MariaDB before 11.8 among them, know the column's index, but not that the expression
# is the column. PostgreSQL names the index of a partition.
INDEXED = {
    "mysql": {**OF_COLUMNS, **OF_EXPRESSIONS},
    "mariadb": OF_COLUMNS,
    "postgresql": {
        "column": "cubepi_messages_p63_user_id_idx",
        "number": "cubepi_messages_p63_score_idx",
    },
    "sqlite": OF_COLUMNS,
}

# One migration for all databases.
UPGRADE = """
op.add_threadlog_metadata_column('tier', '$.customer.tier', sa.Integer(), index=True, of='extra')
op.add_threadlog_metadata_column('user_id', '$.user_id', sa.String(length=64), index=True)
op.add_threadlog_metadata_column('score', '$.order.lines[1]', sa.Integer(), index=True)
op.add_threadlog_metadata_column('spaced', '$."a key"', sa.BigInteger())
op.add_threadlog_metadata_column('ratio', '$.ratio', sa.Float())
op.add_threadlog_metadata_column('price', '$.price', sa.Numeric(precision=10, scale=2))
op.add_threadlog_metadata_column('vip', '$.vip', sa.Boolean())
""".strip().splitlines()
DOWNGRADE = """
op.drop_threadlog_metadata_column('vip')
op.drop_threadlog_metadata_column('price')
op.drop_threadlog_metadata_column('ratio')
op.drop_threadlog_metadata_column('spaced')
op.drop_threadlog_metadata_column('score', index=True)
op.drop_threadlog_metadata_column('user_id', index=True)
op.drop_threadlog_metadata_column('tier', index=True, of='extra')
""".strip().splitlines()


def statements(code: str) -> list[str]:
    """Return the lines of a migration that are no comments."""
    return [line for line in code.splitlines() if not line.startswith("#")]


@pytest.mark.processes
async def test_queries_of_metadata_use_the_index(database_url: str) -> None:
    await ensure_schema(database_url)
    kind = database_url.partition(":")[0]
    count = COUNTS[kind]
    done = run_python("-m", "tests.support.scripts.metadata_columns", database_url, str(count))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{kind}: {report['appended']} appends while columns and indexes were added")
    assert report["differences"] == []
    assert statements(report["upgrade"]) == UPGRADE
    assert statements(report["downgrade"]) == DOWNGRADE
    assert sorted(report["tiers"]) == ["fork", "rich"]
    assert not {"user_id", "score", "vip", "tier"}.intersection(report["left"])
    assert report["defaults"] == []
    changed = "Computed default on cubepi_messages.user_id cannot be modified"
    assert report["other path"] == [changed]
    assert report["seqs"] == list(range(1, report["appended"] + 1))
    rows = {name: found["rows"] for name, found in report.items() if isinstance(found, dict)}
    each = count // 2000
    of_fork = {"number": 2, "number's expression": 2, "spaced": 2, "ratio": 2, "price": 2, "vip": 2}
    assert rows == {
        "column": each,
        "expression": each,
        "either": 2 * each,
        "other case": 0,
        "live": report["appended"],
        **of_fork,
    }
    by_index = INDEXED[kind]
    if kind == "mariadb" and report["version"] >= [11, 8]:
        by_index = INDEXED["mysql"]
    for name, index in by_index.items():
        assert index in report[name]["plan"], report[name]["plan"]
        assert "Seq Scan" not in report[name]["plan"]  # of any partition of PostgreSQL's


@pytest.mark.parametrize(
    "path",
    [
        "user_id",
        "$",
        "",
        "$.",
        "$..a",
        "$.*",
        "$.a[*]",
        "$.a[-1]",
        "$.a[last]",
        "$.1a",
        "$.a b",
        "$.a'); DROP TABLE cubepi_messages; --",
        '$."a"b"',
        '$."a\\"',
        '$."a\'"',
        '$."a:b"',
        '$."a%b"',
        "$.a\n",
        None,
    ],
)
def test_paths_are_validated(path: Any) -> None:
    """Nothing but keys and indexes gets into SQL."""
    with pytest.raises(InvalidInputError, match="path"):
        metadata_column(path, String(64))


@pytest.mark.parametrize("type_", [String(), Text(), JSON(), DateTime(), LargeBinary()])
def test_types_that_cannot_be_compared_are_refused(type_: TypeEngine[Any]) -> None:
    """A text has a length, and types without a JSON value are no types."""
    with pytest.raises(InvalidInputError, match="String"):
        metadata_column("$.a", type_)
    assert metadata_column("$.a", Integer()) is not None
