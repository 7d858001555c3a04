"""``threadlog threads``, as people and programs see it."""

import json
from pathlib import Path

import pytest

from tests.cli.helpers import threadlog

# The command line does not know the databases apart.
pytestmark = pytest.mark.one_database


def test_threads_are_a_table(filled_url: str) -> None:
    result = threadlog("threads", "--url", filled_url)
    assert result.exit_code == 0
    header, _, *rows = [line.split() for line in result.stdout.strip().splitlines()]
    assert header == ["Thread", "Last", "seq", "Last", "activity", "(UTC)", "Parent"]
    found = {row[0]: int(row[1]) for row in rows}
    assert found == {"sample/weather": 5, "sample/two-calls": 5, "sample/picture": 2}


def test_threads_can_be_paged_by_id(filled_url: str) -> None:
    seen: list[str] = []
    options = ["--order", "id", "--limit", "2", "--json"]
    page = json.loads(threadlog("threads", "--url", filled_url, *options).stdout)
    seen += [thread["thread_id"] for thread in page]
    page = json.loads(
        threadlog("threads", "--url", filled_url, *options, "--after", seen[-1]).stdout
    )
    seen += [thread["thread_id"] for thread in page]
    assert seen == ["sample/picture", "sample/two-calls", "sample/weather"]
    assert page[0].keys() == {
        "thread_id",
        "last_seq",
        "parent_thread_id",
        "forked_at_seq",
        "created_at",
        "updated_at",
        "owner",
        "waiting",
    }
    hint = threadlog("threads", "--url", filled_url, "--order", "id", "--limit", "2").stderr
    assert "--after sample/two-calls" in hint


def test_after_needs_the_order_by_id(tmp_path: Path) -> None:
    """The options are checked before anything is opened."""
    url = f"sqlite:///{tmp_path}/a.db"
    result = threadlog("threads", "--url", url, "--after", "x")
    assert result.exit_code == 2
    assert "--order id" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.whole_matrix
def test_threads_of_a_url_with_an_applications_driver_are_listed(database_url: str) -> None:
    drivers = {"mysql": "mysql+mysqldb", "mariadb": "mariadb+mysqldb"}
    drivers |= {"postgresql": "postgresql+psycopg2", "sqlite": "sqlite+aiosqlite"}
    scheme, _, rest = database_url.partition("://")
    result = threadlog("threads", "--url", f"{drivers[scheme]}://{rest}", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
