"""The faults that `make chaos` reports, tested without a server: a check must be able to fail."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.chaos.verdict import Stored, judge

Event = dict[str, Any]


def batch(number: int, size: int = 2, writer: str = "w") -> list[Mapping[str, Any]]:
    """Create the metadata of a batch's messages."""
    return [
        {"writer": writer, "batch": number, "size": size, "place": place} for place in range(size)
    ]


def append(number: int, size: int = 2, *, done: bool = True) -> list[Event]:
    """Note an append."""
    noted = {"writer": "w", "thread": "t", "batch": number}
    tried: list[Event] = [{"event": "append", "size": size, **noted}]
    return [*tried, {"event": "appended", **noted}] if done else tried


def save(value: int, *, done: bool = True) -> list[Event]:
    """Note a save of extra."""
    noted = {"writer": "w", "thread": "t", "value": value}
    return [{"event": name, **noted} for name in (["save", "saved"] if done else ["save"])]


def faults(
    events: Sequence[Event], messages: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]
) -> list[str]:
    """Judge a thread."""
    return judge(events, {"t": (list(enumerate(messages, start=1)), extra)}).faults


def saved(value: int) -> dict[str, Any]:
    """Return the extra after a save."""
    return {"w": value, "null-w": None}


@pytest.mark.parametrize(
    ("events", "messages", "extra"),
    [
        ([*append(1), *append(2, 3)], [*batch(1), *batch(2, 3)], {}),
        ([*append(1), *append(2, done=False)], batch(1), {}),
        ([*append(1), *append(2, done=False)], [*batch(1), *batch(2)], {}),
        ([*save(1), *save(2)], [], saved(2)),
        ([*save(1), *save(2, done=False)], [], saved(1)),
        ([*save(1), *save(2, done=False)], [], saved(2)),
        (save(1, done=False), [], {}),
    ],
)
def test_what_may_be(
    events: list[Event], messages: list[Mapping[str, Any]], extra: dict[str, Any]
) -> None:
    """An unacknowledged batch may be stored, but only completely."""
    assert faults(events, messages, extra) == []


@pytest.mark.parametrize(
    ("events", "messages", "extra", "fault"),
    [
        (append(1), [], {}, "lost: .*'w', 1"),
        (append(1), [*batch(1), *batch(1)], {}, "doubled: .*'w', 1"),
        (append(1, done=False), [*batch(1), *batch(1)], {}, "doubled"),
        (append(1), [*batch(1), *batch(9)], {}, "never tried"),
        (append(1), batch(1)[:1], {}, "partial batch"),
        (append(1, done=False), batch(1)[1:], {}, "partial batch"),
        (append(1), batch(1)[::-1], {}, "partial batch"),
        ([*append(1), *append(2)], [*batch(2), *batch(1)], {}, "behind a later one"),
        ([*save(1), *save(2)], [], saved(1), "extra of w is 1"),
        (save(1), [], {}, "extra of w is None"),
        (save(1), [], {"w": 1}, "in part"),
        ([], [], {"other": 1}, "never saved"),
        ([{"event": "end", "taken": 2}], [], {}, "2 connections"),
        (
            [{"event": "unexpected", "verb": "load", "kind": "TypeError", "text": "x"}],
            [],
            {},
            "load raised TypeError",
        ),
    ],
)
def test_what_may_not_be(
    events: list[Event], messages: list[Mapping[str, Any]], extra: dict[str, Any], fault: str
) -> None:
    """Each kind of loss and disorder is seen."""
    found = "\n".join(faults(events, messages, extra))
    assert re.search(fault, found)


def test_a_gap_in_seq_is_seen() -> None:
    """Seq is to be contiguous from 1."""
    messages = batch(1)
    stored: Stored = {"t": ([(1, messages[0]), (3, messages[1])], {})}
    assert judge(append(1), stored).faults == ["t: seq has gaps or repeats"]
