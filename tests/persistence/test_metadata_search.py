"""The contract of metadata stores: searching threads."""

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from skeino.schemas import ThreadSearchRequest

from tests.persistence.stores import Opened, ago, name, thread
from threadlog.errors import InvalidInputError
from threadlog.persistence import ThreadSearch

COLUMNS = ["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
STATUSES = ["idle", "busy", "interrupted", "error"]


async def found(opened: Opened, **wanted: Any) -> list[str]:
    """Search, and give the ids that were found, in order."""
    rows = await opened.store.search_thread_rows(ThreadSearch(**wanted))
    return [str(row["thread_id"]) for row in rows]


async def several(opened: Opened, number: int = 24) -> list[dict[str, Any]]:
    """Create threads that are equal in much: give them as they are to be sorted by."""
    start = ago(1000)
    moments = [start + timedelta(seconds=1.5 * i) for i in range(4)]
    made = []
    for i in range(number):
        thread_id = await thread(opened.store, metadata={"number": i, "even": i % 2 == 0})
        columns: dict[str, Any] = {
            "status": STATUSES[i % 4],
            "created_at": moments[i % 2],
            "updated_at": moments[i % 3],
            "state_updated_at": None if i % 5 == 0 else moments[i % 4],
        }
        await opened.behind.set_thread(thread_id, **columns)
        made.append({"thread_id": thread_id, **columns})
    return made


def ordered(made: list[dict[str, Any]], column: str, order: str) -> list[str]:
    """Sort as the contract says."""

    def key(row: dict[str, Any]) -> tuple[bool, Any, str]:
        return (row[column] is not None, row[column], row["thread_id"])

    return [row["thread_id"] for row in sorted(made, key=key, reverse=order == "desc")]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("column", COLUMNS)
async def test_sorting(opened: Opened, column: str, order: str) -> None:
    made = await several(opened)
    wanted = ordered(made, column, order)
    assert await found(opened, sort_by=column, sort_order=order, limit=100) == wanted
    pages = [
        await found(opened, sort_by=column, sort_order=order, limit=5, offset=offset)
        for offset in range(0, 30, 5)
    ]
    assert [len(page) for page in pages] == [5, 5, 5, 5, 4, 0]
    assert sum(pages, []) == wanted  # noqa: RUF017 - few


async def test_the_default_is_the_newest_ten(opened: Opened) -> None:
    made = await several(opened)
    assert await found(opened) == ordered(made, "updated_at", "desc")[:10]


async def test_ids_and_status(shared: Opened) -> None:
    one, other = await thread(shared.store), await thread(shared.store)
    await thread(shared.store)
    await shared.store.update_thread(one, status_value="busy")
    await shared.store.update_thread(other, status_value="error")
    assert set(await found(shared, ids=[UUID(one), UUID(other)])) == {one, other}
    assert await found(shared, ids=[one, name()]) == [one]
    assert await found(shared, ids=[name()]) == []
    assert len(await found(shared, ids=[])) == 3
    assert await found(shared, status="busy") == [one]
    assert await found(shared, status="interrupted") == []
    assert await found(shared, ids=[one, other], status="error") == [other]
    assert await found(shared, ids=[one], status="error") == []


async def test_newest_first_and_its_opposite(shared: Opened) -> None:
    made = [await thread(shared.store) for _ in range(5)]
    for place, thread_id in enumerate(made):
        await shared.behind.set_thread(thread_id, updated_at=ago(100 - place))
    assert await found(shared) == made[::-1]
    assert await found(shared, sort_by="updated_at", sort_order="desc") == made[::-1]
    assert await found(shared, sort_by="updated_at", sort_order="asc") == made
    assert await found(shared, limit=2, offset=1) == made[::-1][1:3]


async def test_the_whole_row_is_given(opened: Opened) -> None:
    """A search gives what fetching gives."""
    thread_id = await thread(opened.store, metadata={"a": {"b": [1]}}, config={"c": 1})
    await opened.store.update_thread(thread_id, mark_state_updated=True)
    (row,) = await opened.store.search_thread_rows(ThreadSearch())
    assert row == await opened.store.fetch_thread_row(thread_id)


async def test_skeinos_request(opened: Opened) -> None:
    """Its own class is taken, with ids that are UUIDs."""
    made = await several(opened, 6)
    ids = [UUID(row["thread_id"]) for row in made]
    request = ThreadSearchRequest(
        ids=ids[1:],
        metadata={"even": True},
        status="idle",
        limit=5,
        offset=0,
        sort_by="created_at",
        sort_order="asc",
    )
    rows = await opened.store.search_thread_rows(request)
    assert [row["thread_id"] for row in rows] == [ids[4]]
    assert len(await opened.store.search_thread_rows(ThreadSearchRequest())) == 6


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.5,
    -1,
    2**53,
    2**53 + 1,
    "",
    "1",
    "0",
    "1.5",
    "true",
    "false",
    "null",
    "None",
    "a",
    "A",
    "a ",
    "ü😀'\"\\%_",
    [],
    [1],
    [1, 2],
    [2, 1],
    ["1"],
    [[1]],
    [None],
    {},
    {"a": 1},
    {"a": 1, "b": 2},
    {"a": [1, {"b": None}]},
    {"a": "1"},
    {"a": "x", "A": "y"},
    {"a": None, "b": 3},
    {"c": None, "b": 3},
    [{"a": [{"b": 1, "c": 2}, 1]}, 3],
]


async def test_metadata_are_compared_whole(opened: Opened) -> None:
    """Each value finds itself and nothing that looks like it; None finds no member."""
    made = {}
    for place, value in enumerate(VALUES):
        made[await thread(opened.store, metadata={"key": value, "other": 1})] = place
    without = await thread(opened.store, metadata={"KEY": 1})
    for place, value in enumerate(VALUES):
        hits = set(await found(opened, metadata={"key": value}, limit=100))
        expected = {thread_id for thread_id, at in made.items() if at == place}
        assert hits == (expected | {without} if value is None else expected), value
    assert await found(opened, metadata={"key": 1.0}) == await found(opened, metadata={"key": 1})
    assert len(await found(opened, metadata={"key": 1.0})) == 1
    assert await found(opened, metadata={"key": {"b": 2, "a": 1}}) != []
    assert await found(opened, metadata={"key": (1, 2)}) != []


KEYS = [
    "a",
    "A",
    "",
    " ",
    "a.b",
    "$",
    'quo"te',
    "it's",
    "back\\slash",
    "[0]",
    "*",
    "%s",
    ":x",
    "ü😀",
]


@pytest.mark.parametrize("key", ["hash", "a.b", 'quo"te', "ü", "back\\slash", ""])
async def test_search_with_unsigned_64_bit_integer_finds_the_exact_one(
    opened: Opened, key: str
) -> None:
    """SQLite's functions make floats of these, in which neighbours are equal."""
    values = [2**63 - 1, 2**63, 2**63 + 1, 2**63 + 3, 2**64 - 1]
    ids = {value: await thread(opened.store, metadata={key: value}) for value in values}
    for value in [*values, 2**63 + 2, 2**64 - 2]:
        wanted = [ids[value]] if value in ids else []
        assert await found(opened, metadata={key: value}) == wanted


async def test_search_with_nested_unsigned_64_bit_integer_finds_the_exact_one(
    opened: Opened,
) -> None:
    made = await thread(opened.store, metadata={"a": [2**63 + 1], "b": {"c d": 2**64 - 1}})
    assert await found(opened, metadata={"a": [2**63 + 1]}) == [made]
    assert await found(opened, metadata={"b": {"c d": 2**64 - 1}}) == [made]
    assert await found(opened, metadata={"a": [2**63 + 3]}) == []
    assert await found(opened, metadata={"b": {"c d": 2**64 - 2}}) == []


async def test_members_of_any_name(opened: Opened) -> None:
    """A name is no path, no pattern and no SQL."""
    made = [await thread(opened.store, metadata={key: 1}) for key in KEYS]
    for thread_id, key in zip(made, KEYS, strict=True):
        assert await found(opened, metadata={key: 1}) == [thread_id], key
    both = await thread(opened.store, metadata={"b": "x", "B": "y"})
    assert await found(opened, metadata={"b": "x", "B": "y"}) == [both]


async def test_all_members_are_needed(opened: Opened) -> None:
    """Conditions are joined by and; no members are no condition."""
    both = await thread(opened.store, metadata={"a": 1, "b": "x", "c": 0})
    await thread(opened.store, metadata={"a": 1, "b": "y"})
    await thread(opened.store, metadata={"b": "x"})
    assert await found(opened, metadata={"a": 1, "b": "x"}) == [both]
    assert await found(opened, metadata={"a": 1, "b": "x"}, status="busy") == []
    assert len(await found(opened, metadata={})) == 3
    # One level only: members of members are compared whole.
    nested = await thread(opened.store, metadata={"a": {"b": 1, "c": 2}})
    assert await found(opened, metadata={"a": {"b": 1}}) == []
    assert await found(opened, metadata={"a": {"c": 2, "b": 1}}) == [nested]


async def test_values_as_deep_as_can_be_stored(opened: Opened) -> None:
    deep: list[Any] = [[1, {"a.b": "x", 'c"d': [1.0]}], [1, {"a.b": "x", 'c"d': [2]}]]
    for _ in range(13):
        deep = [{"k": [value]} for value in deep]
    one, _ = [await thread(opened.store, metadata={"deep": value}) for value in deep]
    assert await found(opened, metadata={"deep": deep[0]}) == [one]
    assert await found(opened, metadata={"deep": [deep[0]]}) == []


async def test_text_with_nul_is_refused(opened: Opened) -> None:
    """Nothing is stored that a search would miss, or find for something else."""
    for metadata in ({"a": "x\0y"}, {"a\0": 1}, {"a": [{"b": "\0"}]}):
        with pytest.raises(InvalidInputError, match="NUL"):
            await thread(opened.store, metadata=metadata)
        with pytest.raises(InvalidInputError, match="NUL"):
            await found(opened, metadata=metadata)
    assert await found(opened) == []


async def test_metadata_are_looked_at_before_the_page_is_cut(opened: Opened) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    user = [number % 10 == 0 for number in range(60)]
    random.Random(seed).shuffle(user)
    mine = []
    start: datetime = ago(1000)
    for number, is_mine in enumerate(user):
        thread_id = await thread(opened.store, metadata={"user": "me" if is_mine else "you"})
        await opened.behind.set_thread(thread_id, updated_at=start + timedelta(seconds=number))
        mine += [thread_id] if is_mine else []
    wanted = mine[::-1]
    assert await found(opened, metadata={"user": "me"}, limit=4) == wanted[:4]
    assert await found(opened, metadata={"user": "me"}, limit=4, offset=4) == wanted[4:]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": ["x"]},
        {"ids": [7]},
        {"status": "done"},
        {"limit": 0},
        {"limit": "1"},
        {"offset": -1},
        {"sort_by": "metadata"},
        {"sort_by": "thread_id; DROP TABLE app_threads"},
        {"sort_order": "up"},
        {"metadata": {"a": float("nan")}},
        {"metadata": {1: 1}},
        {"metadata": [1]},
    ],
)
async def test_what_cannot_be_searched(opened: Opened, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await found(opened, **wrong)
