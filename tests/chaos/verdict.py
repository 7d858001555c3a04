"""Compares what a database holds with what workers noted."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Stored = Mapping[str, tuple[Sequence[tuple[int, Mapping[str, Any]]], Mapping[str, Any]]]
"""For each thread: its seqs with the metadata of each message, and its `extra`."""

_Key = tuple[str, str]


@dataclass
class Verdict:
    """The result of a check; nothing is wrong if `faults` is empty."""

    acknowledged: int = 0
    """Appends that returned."""

    unacknowledged: int = 0
    """Appends that did not return, of which `arrived` are there all the same."""

    arrived: int = 0
    lost: int = 0
    doubled: int = 0
    messages: int = 0
    cancelled: int = 0
    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Write the figures for people."""
        errors = ", ".join(f"{kind} {count}" for kind, count in self.errors.most_common())
        return (
            f"{self.calls} calls, {self.acknowledged} appends acknowledged, {self.lost} lost, "
            f"{self.doubled} doubled, {self.unacknowledged} not acknowledged ({self.arrived} "
            f"arrived), {self.messages} messages, {self.cancelled} cancelled, "
            f"errors: {errors or 'none'}, logged: {sum(self.logged.values())}"
        )


def judge(noted: Iterable[Mapping[str, Any]], stored: Stored) -> Verdict:
    """Compare a database with a journal."""
    verdict = Verdict()
    events = list(noted)
    _count(verdict, events)
    _check_appends(verdict, events, stored)
    _check_extra(verdict, events, stored)
    for thread, (messages, _) in stored.items():
        verdict.messages += len(messages)
        if [seq for seq, _ in messages] != list(range(1, len(messages) + 1)):
            verdict.faults.append(f"{thread}: seq has gaps or repeats")
    return verdict


def _count(verdict: Verdict, events: Sequence[Mapping[str, Any]]) -> None:
    for event in events:
        match event["event"]:
            case "done":
                verdict.calls += 1
            case "cancelled":
                verdict.calls += 1
                verdict.cancelled += 1
            case "error":
                verdict.calls += 1
                verdict.errors[event["kind"]] += 1
            case "logged":
                verdict.logged[event["text"]] += 1
            case "unexpected":
                verdict.faults.append(f"{event['verb']} raised {event['kind']}: {event['text']}")
            case "end" if event["taken"]:
                verdict.faults.append(f"{event['taken']} connections were not given back")


def _check_appends(verdict: Verdict, events: Sequence[Mapping[str, Any]], stored: Stored) -> None:
    """Check that batches are whole, where they belong, once, and in each writer's order."""
    tried = {_batch(event): event["size"] for event in events if event["event"] == "append"}
    acknowledged = {_batch(event) for event in events if event["event"] == "appended"}
    found: Counter[tuple[str, str, int]] = Counter()
    for thread, (messages, _) in stored.items():
        batches = _batches(verdict, thread, [metadata for _, metadata in messages])
        found.update((thread, writer, batch) for writer, batch in batches)
        _check_order(verdict, thread, batches)
    verdict.acknowledged = len(acknowledged)
    verdict.unacknowledged = len(tried) - len(acknowledged)
    verdict.lost = len(acknowledged - set(found))
    verdict.doubled = sum(count - 1 for count in found.values())
    verdict.arrived = len(set(found) - acknowledged)
    if verdict.lost or verdict.doubled or set(found) - set(tried):
        verdict.faults.append(
            f"lost: {sorted(acknowledged - set(found))[:5]}, doubled: "
            f"{[key for key, count in found.items() if count > 1][:5]}, never tried: "
            f"{sorted(set(found) - set(tried))[:5]}"
        )


def _batch(event: Mapping[str, Any]) -> tuple[str, str, int]:
    return event["thread"], event["writer"], event["batch"]


def _batches(
    verdict: Verdict, thread: str, messages: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int]]:
    """List a thread's batches in order; one that is torn or mixed is a fault."""
    batches = []
    place = 0
    while place < len(messages):
        first = messages[place]
        whole = [{**first, "place": n} for n in range(first["size"])]
        if list(map(dict, messages[place : place + first["size"]])) != whole:
            verdict.faults.append(f"{thread}: a partial batch behind seq {place}: {dict(first)}")
            break
        batches.append((first["writer"], first["batch"]))
        place += first["size"]
    return batches


def _check_order(verdict: Verdict, thread: str, batches: Sequence[tuple[str, int]]) -> None:
    last: dict[str, int] = {}
    for writer, batch in batches:
        if batch < last.get(writer, 0):
            verdict.faults.append(f"{thread}: batch {batch} of {writer} stands behind a later one")
        last[writer] = batch


def _check_extra(verdict: Verdict, events: Sequence[Mapping[str, Any]], stored: Stored) -> None:
    """Check that each key has its last acknowledged value, or one tried since."""
    possible: dict[_Key, set[int | None]] = defaultdict(lambda: {None})
    for event in events:
        key = (event.get("thread", ""), event.get("writer", ""))
        if event["event"] == "save":
            possible[key] |= {event["value"]}
        elif event["event"] == "saved":
            possible[key] = {event["value"]}
    for (thread, writer), values in possible.items():
        _, extra = stored.get(thread, ((), {}))
        if extra.get(writer) not in values:
            verdict.faults.append(
                f"{thread}: extra of {writer} is {extra.get(writer)}, not one of {values}"
            )
        if (f"null-{writer}" in extra) != (writer in extra):
            verdict.faults.append(f"{thread}: a save of {writer} was stored in part")
    writers = {key for key, _ in possible.items()}
    for thread, (_, extra) in stored.items():
        strange = {name for name in extra if (thread, name.removeprefix("null-")) not in writers}
        if strange:
            verdict.faults.append(f"{thread}: extra has {sorted(strange)[:5]}, never saved")
