"""The marks of tests, and which of a test's cases run by default.

A test's cases are the product of the ways (to have a checkpointer, a saver, a metadata store) and
the databases. Each runs with the default way on every database. The other ways take turns: a hash
of the test's id and other parameters chooses one database for each way, so that every way runs
every test once, and every database gets every way. The choice does not depend on the databases of
the run. ``whole_matrix`` marks tests for which a way or a database can matter by itself; of them
every case runs. ``one_database`` marks tests of what happens before a database is asked, and of
what another test proves on every database: there the default way takes turns too.

With ``THREADLOG_TEST_SHORT=1``, which ``make test`` and ``make test-fast`` set, more cases take
turns: the other ways of ``whole_matrix`` tests as those of the others, and the default way of the
others among those databases of the run that the test has cases of, as do the sources of copies
from one database to another. Tests of random inputs, which are new ones in each run, have a third
of them (`rounds`). With ``THREADLOG_TEST_FULL=1``
every case of every test runs.
"""

import os
from collections.abc import Iterable
from typing import Any, Final
from zlib import crc32

import pytest

from tests.support.databases import DATABASES, NAMED, WITHOUT_SQL
from tests.support.seeds import FRESH
from tests.support.servers.products import EVERY_PRODUCT, PRODUCTS
from threadlog.models import MESSAGES, SEARCH, SchemaPart

EVERYWHERE: Final = ("sqlite", *PRODUCTS)
"""The names of all databases with SQL, which are marks too."""

_NAMES: Final = (*EVERYWHERE, *WITHOUT_SQL)

FULL: Final = bool(os.environ.get("THREADLOG_TEST_FULL"))
"""Whether every case runs."""

SHORT: Final = bool(os.environ.get("THREADLOG_TEST_SHORT"))
"""Whether more cases take turns."""

MARKS: Final = {
    "every_way": "runs with each way to have a checkpointer, not only on a URL",
    "whole_matrix": "each way runs on each database; in make test the default way does",
    "one_database": "the default way runs on one of the databases by default, as the others do",
    "other_way(number)": "set by `ways`: the case is not of the default way",
    "processes": "starts processes of its own, which costs a second or more",
    "server": "set where a test needs a database server",
    **{name: f"set where a test uses {name}" for name in _NAMES},
}

# What the cases that take turns differ in: the database, the way, and a random number.
_TURNING: Final = {
    *_NAMES,
    *("own", "engine", "factory", "joined", "sync", "sync_joined", "own_sync", "engine_sync"),
    str(FRESH),
}

# Fixtures that servers alone have; without one the test would be skipped without a reason.
_OF_SERVERS: Final = {"server_name", "innodb_name", "among_others"}

# Fixtures of two databases, of which each of the run is the source once.
_ENDS: Final = {"ends", "graph_ends", "store_ends"}

# Which databases a test can run on, by the fixture that names its own.
_CHOICES: Final = {
    "innodb_name": ("mysql", "mariadb"),
    "served_url": ("mysql", "mariadb", "mongodb"),
    "server_name": tuple(PRODUCTS),
    "database_name": EVERYWHERE,
    "ours": EVERYWHERE,
    "anyones": EVERYWHERE,
    "durable": EVERYWHERE,
}


def rounds(count: int) -> int:
    """Return how many random inputs a test has: the count, or a third of it in a short run."""
    return count // 3 if SHORT else count


def on_each(databases: Iterable[Any]) -> list[Any]:
    """Return parameters of a fixture or a test, each with the marks of its databases.

    Args:
        databases: each is the name of a database, alone or followed by a hyphen and more, or a
            tuple of names, or a `Product`.
    """
    return [pytest.param(each, marks=_marks(_names(each)), id=_id(each)) for each in databases]


def ways(names: Iterable[str]) -> list[Any]:
    """Return parameters of a fixture or a test, the default way first."""
    default, *others = on_each(names)
    return [default, *(other_way(each, number) for number, each in enumerate(others, 1))]


def other_way(parameter: Any, number: int = 1) -> Any:
    """Return a parameter with the mark of a way that is not the default.

    Args:
        parameter: one of those that `on_each` returns.
        number: the place of the way among the others.
    """
    marks = [*parameter.marks, pytest.mark.other_way(number)]
    return pytest.param(*parameter.values, marks=marks, id=parameter.id)


def parts_in_turn(parts: Iterable[SchemaPart]) -> list[Any]:
    """Return parameters: messages and search run on each database, the other parts take turns.

    The tables of the others have columns and indexes alone, which all databases create alike.
    """
    return [
        pytest.param(
            part, marks=[] if part in {MESSAGES, SEARCH} else pytest.mark.one_database, id=part.name
        )
        for part in parts
    ]


def mark_databases(item: pytest.Item) -> None:
    """Mark a test with the databases that its fixtures name, and with ``server``."""
    names = getattr(item, "fixturenames", ())
    for database in _NAMES:
        if any(name.removeprefix("second_").startswith(f"{database}_") for name in names):
            item.add_marker(database)
    if "count" in names and not databases_of(item):
        item.add_marker("mysql")
    if any(item.get_closest_marker(name) for name in EVERY_PRODUCT):
        item.add_marker("server")


def databases_of(item: pytest.Item) -> list[str]:
    """Return the names of the databases that a test is marked with."""
    return [name for name in EVERYWHERE if item.get_closest_marker(name)]


def is_left_out(item: pytest.Item) -> bool:
    """Return True if the run has not the servers of a case, or the matrix not the case."""
    databases, names = databases_of(item), getattr(item, "fixturenames", ())
    if any(name in PRODUCTS and name not in DATABASES for name in databases):
        return True
    if any(item.get_closest_marker(name) and name not in NAMED for name in WITHOUT_SQL):
        return True
    if not {*PRODUCTS} & {*databases} and not _OF_SERVERS.isdisjoint(names):
        return True  # the run has none of their servers
    if SHORT and not _ENDS.isdisjoint(names):
        source = item.nodeid.partition("-to-")[0].replace("[", "-").rpartition("-")[2]
        return source != DATABASES[crc32(_key(item)) % len(DATABASES)]
    named = [name for name in _NAMES if item.get_closest_marker(name)]
    choices = next((found for name, found in _CHOICES.items() if name in names), ())
    # A database that is not among the choices takes no turns.
    if FULL or len(named) != 1 or named[0] not in choices:
        return False
    return named[0] not in _turn(item, choices)


def _turn(item: pytest.Item, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the databases that it is the turn of, for a case's test and way."""
    whole = item.get_closest_marker("whole_matrix")
    way = item.get_closest_marker("other_way")
    if whole and not (way and SHORT):
        return choices
    if not way and not item.get_closest_marker("one_database"):
        if not SHORT:
            return choices
        choices = _cases(item, choices)
    return (choices[(crc32(_key(item)) + (way.args[0] if way else 0)) % len(choices)],)


def _cases(item: pytest.Item, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the databases that the run has, and the test a case of."""
    for mark in item.iter_markers("parametrize"):
        if mark.args[0] in [*_CHOICES]:  # some have a list of names there
            own = {each.id for each in mark.args[1]}
            choices = tuple(name for name in choices if name in own)
    return tuple(name for name in choices if name in NAMED)


def _key(item: pytest.Item) -> bytes:
    """Return what the cases that take turns have in common: all but the way and the database."""
    test, _, parameters = item.nodeid.partition("[")
    others = [part for part in parameters.rstrip("]").split("-") if part not in _TURNING]
    return "-".join([test, *others]).encode()


def _id(each: Any) -> str:
    return "-to-".join(each) if isinstance(each, tuple) else str(getattr(each, "name", each))


def _names(each: Any) -> tuple[str, ...]:
    return each if isinstance(each, tuple) else (_id(each).partition("-")[0],)


def _marks(names: Iterable[str]) -> list[pytest.MarkDecorator]:
    return [getattr(pytest.mark, name) for name in dict.fromkeys(names) if name in _NAMES]
