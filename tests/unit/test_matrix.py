"""Which cases of a test run by default, and the marks that select them."""

from itertools import product
from typing import Any

import pytest

from tests.support import matrix
from tests.support.matrix import EVERYWHERE, databases_of, is_left_out, mark_databases, on_each
from tests.support.seeds import FRESH
from tests.support.servers.products import MYSQL, PRODUCTS
from tests.support.ways import WAYS

OTHERS = list(WAYS)[1:]


class Item:
    """A case of a test, as far as the matrix looks at it."""

    def __init__(self, nodeid: str, fixtures: list[str], *marks: Any) -> None:
        self.nodeid, self.fixturenames = nodeid, fixtures
        self.marks = {mark.name: mark for mark in marks}

    def get_closest_marker(self, name: str) -> Any:
        return self.marks.get(name)

    def iter_markers(self, name: str) -> list[Any]:
        return [self.marks[name]] if name in self.marks else []

    def add_marker(self, name: str) -> None:
        self.marks[name] = getattr(pytest.mark, name)


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on all databases, but not with all ways."""
    monkeypatch.setattr(matrix, "DATABASES", EVERYWHERE)
    monkeypatch.setattr(matrix, "FULL", False)
    monkeypatch.setattr(matrix, "SHORT", False)


def case(test: int, way: str, database: str, *marks: Any) -> Any:
    """Return a case of a test with a way on a database."""
    other = [pytest.mark.other_way(OTHERS.index(way) + 1)] if way in OTHERS else []
    at = getattr(pytest.mark, database)
    nodeid = f"tests/test_it.py::test_{test}[{way}-{database}-some value-{FRESH}]"
    return Item(nodeid, ["database_name"], at, *other, *marks)


def run_of(test: int, *marks: Any) -> list[tuple[str, str]]:
    """Return the pairs of a way and a database that a test runs with."""
    pairs = product(WAYS, EVERYWHERE)
    return [pair for pair in pairs if not is_left_out(case(test, *pair, *marks))]


def test_the_default_way_runs_everywhere_and_each_other_way_once() -> None:
    for test in range(50):
        run = run_of(test)
        assert [database for way, database in run if way == "own"] == list(EVERYWHERE)
        assert [way for way, _ in run if way != "own"] == OTHERS
        assert {database for way, database in run if way != "own"} == set(EVERYWHERE)


def test_every_pair_comes_up() -> None:
    assert {pair for test in range(50) for pair in run_of(test)} == {*product(WAYS, EVERYWHERE)}


def test_the_choice_does_not_depend_on_the_databases_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere = [run_of(test) for test in range(20)]
    monkeypatch.setattr(matrix, "DATABASES", ("sqlite", "mysql"))
    for test in range(20):
        expected = [pair for pair in everywhere[test] if pair[1] in {"sqlite", "mysql"}]
        assert run_of(test) == expected


def test_marks_widen_and_narrow_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for test in range(20):
        assert run_of(test, pytest.mark.whole_matrix) == [*product(WAYS, EVERYWHERE)]
        narrow = run_of(test, pytest.mark.one_database)
        assert [way for way, _ in narrow] == list(WAYS)
        assert {database for _, database in narrow} == set(EVERYWHERE)
    monkeypatch.setattr(matrix, "FULL", True)
    assert run_of(0, pytest.mark.whole_matrix) == [*product(WAYS, EVERYWHERE)]
    assert run_of(0, pytest.mark.one_database) == [*product(WAYS, EVERYWHERE)]


def run_short_on(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Use the choice of a short run that has these databases."""
    monkeypatch.setattr(matrix, "SHORT", True)
    monkeypatch.setattr(matrix, "NAMED", names)
    monkeypatch.setattr(matrix, "DATABASES", tuple(name for name in names if name in EVERYWHERE))


def test_more_cases_take_turns_in_a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [run_of(test) for test in range(20)]
    run_short_on(monkeypatch, "sqlite", "mysql")
    found = set()
    for test in range(20):
        assert run_of(test, pytest.mark.whole_matrix) == [
            pair for pair in usual[test] if pair[1] in {"sqlite", "mysql"}
        ]
        own = [database for way, database in run_of(test) if way == "own"]
        assert len(own) == 1
        found.update(own)
    assert found == {"sqlite", "mysql"}
    run_short_on(monkeypatch, "sqlite")
    assert [database for way, database in run_of(0) if way == "own"] == ["sqlite"]


def test_a_test_of_some_databases_takes_turns_among_them_in_a_short_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_short_on(monkeypatch, "sqlite", "mysql")
    for test in range(20):
        on_servers = pytest.mark.parametrize("database_name", on_each(PRODUCTS)).mark
        run = [name for name in PRODUCTS if not is_left_out(case(test, "own", name, on_servers))]
        assert run == ["mysql"]


def test_the_source_of_a_copy_takes_turns_in_a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run_short_on(monkeypatch, "sqlite", "mysql")
    found = set()
    for test in range(20):
        pairs = [("sqlite", "mysql"), ("mysql", "sqlite")]
        items: list[Any] = [
            Item(
                f"tests/test_it.py::test_{test}[{'-to-'.join(pair)}-some value]",
                ["graph_ends"],
                *(getattr(pytest.mark, name) for name in pair),
            )
            for pair in pairs
        ]
        (run,) = [pair for pair, item in zip(pairs, items, strict=True) if not is_left_out(item)]
        found.add(run)
    assert found == {*pairs}


def test_a_database_without_sql_takes_its_turn_in_a_short_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_short_on(monkeypatch, "sqlite", "mongodb")
    item: Any = Item("tests/test_it.py::test_it[mongodb]", ["served_url"], pytest.mark.mongodb)
    assert not is_left_out(item)


@pytest.mark.parametrize(
    ("fixtures", "marked", "server"),
    [
        (["sqlite_url", "tmp_path"], ["sqlite"], False),
        (["mysql_url"], ["mysql"], True),
        (["sqlite_url", "second_mariadb_url"], ["sqlite", "mariadb"], True),
        (["postgres_server_url", "request"], ["postgres"], True),
        (["count"], ["mysql"], True),
        (["tmp_path"], [], False),
    ],
)
def test_fixtures_mark_a_test(fixtures: list[str], marked: list[str], server: bool) -> None:  # noqa: FBT001 - a parameter of the test
    item: Any = Item("tests/test_it.py::test_it", fixtures)
    mark_databases(item)
    assert databases_of(item) == marked
    assert ("server" in item.marks) is server


def test_parameters_carry_the_marks_of_their_databases() -> None:
    parameters = on_each(["memory", "mysql-engine", ("sqlite", "postgres"), MYSQL])
    assert [[mark.name for mark in each.marks] for each in parameters] == [
        [],
        ["mysql"],
        ["sqlite", "postgres"],
        ["mysql"],
    ]
    assert [each.id for each in parameters] == [
        "memory",
        "mysql-engine",
        "sqlite-to-postgres",
        "mysql",
    ]


def test_what_the_run_has_no_server_for_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "DATABASES", ("sqlite",))
    items: Any = [
        Item("a", ["mysql_url"], pytest.mark.mysql),
        Item("b", ["server_name"]),
        Item("c", ["server_name", "sqlite_url"], pytest.mark.sqlite),
        Item("d", []),
    ]
    assert [is_left_out(item) for item in items] == [True, True, True, False]
