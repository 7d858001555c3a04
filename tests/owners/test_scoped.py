"""Scoped checkpointers: threads of other owners are as absent as unknown ones, for every method."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from inspect import isfunction
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select

from tests.support.databases import on_connection
from tests.support.factories import HitlRequestFactory, UserFactory
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.checkpointer import BoundCheckpointer, MessageLog, ScopedCheckpointer
from threadlog.errors import (
    InvalidInputError,
    ThreadlogError,
    ThreadOwnedError,
)
from threadlog.log.results import Claim
from threadlog.models import CONTROL, MESSAGES
from threadlog.runtime.transactions import TransactionRunner
from threadlog.sync_checkpointer import (
    SyncBoundCheckpointer,
    SyncMessageLog,
    SyncScopedCheckpointer,
)

pytestmark = pytest.mark.every_way

Call = Callable[[Any, str], Awaitable[Any]]


async def _streamed(log: Any, thread_id: str) -> list[Any]:
    return [stored.message async for stored in log.stream(thread_id)]


async def _exported(log: Any, thread_id: str) -> list[str]:
    lines = [json.loads(line) async for line in log.export(threads=[thread_id])]
    return [line["type"] for line in lines if line["type"] != "owner"]


async def _read(log: Any, thread_id: str) -> list[Any]:
    return [stored.message for stored in await log.read(thread_id)]


async def _listed(log: Any, thread_id: str) -> list[Any]:
    found = await log.list_threads()
    return [(t.last_seq, t.owner, t.waiting) for t in found if t.thread_id == thread_id]


async def _stale(log: Any, thread_id: str) -> list[str]:
    found = await log.stale_runs(timedelta(0))
    return [run.run_id for run in found if run.thread_id == thread_id]


async def _runs(log: Any, thread_id: str) -> list[tuple[str, str]]:
    return sorted((run.run_id, run.state) for run in await log.runs(thread_id))


async def _loaded(log: Any, thread_id: str) -> list[Any] | None:
    found = [await log.load(thread_id), await log.load(thread_id, last=1)]
    return found if found != [None, None] else None


async def _truncations(log: Any, thread_id: str) -> list[tuple[int, int]]:
    return [(each.after_seq, each.last_seq) for each in await log.truncations(thread_id)]


async def _truncate(log: Any, thread_id: str) -> tuple[int, int] | None:
    removed = await log.truncate(thread_id, after_seq=1, ignore_open_runs=True)
    return None if removed is None else (removed.after_seq, removed.last_seq)


async def _erasable(log: Any, thread_id: str) -> list[int]:
    erased = await log.erase_thread(thread_id, forks="detach", dry_run=True)
    return list(erased.rows.values())


async def _reencrypt_all(log: Any, thread_id: str) -> list[Any]:
    return [each async for each in log.reencrypt_all()]


_CLAIMS: Final[dict[str, Claim]] = {}
"""By thread: what `_fill` got from `claim_run`."""


def _claim(thread_id: str) -> Claim:
    never = Claim(thread_id, "leased", token=1, expires_at=datetime.now(UTC))
    return _CLAIMS.get(thread_id, never)


async def _renew(log: Any, thread_id: str) -> bool:
    claim = await log.renew(_claim(thread_id), lease=timedelta(hours=1))
    return bool(claim.token == _claim(thread_id).token)


MESSAGE: Final = UserFactory()
QUESTION: Final = HitlRequestFactory(question_id="q2")

CALLS: Final[dict[str, Call]] = {  # those that read, then the others; the last one deletes
    "load": _loaded,
    "read": _read,
    "stream": _streamed,
    "export": _exported,
    "list_threads": _listed,
    "runs": _runs,
    "stale_runs": _stale,
    "snapshot": lambda log, t: log.snapshot(t, after_run_id="done"),
    "load_pending": lambda log, t: log.load_pending(t),
    "load_pending_request": lambda log, t: log.load_pending_request(t),
    "load_pending_run_id": lambda log, t: log.load_pending_run_id(t),
    "load_hitl_answer": lambda log, t: log.load_hitl_answer(t, "q", default="no answer"),
    "truncations": _truncations,
    "fork": lambda log, t: log.fork(t, f"{t}/fork", after_run_id="done"),
    "append": lambda log, t: log.append(t, [MESSAGE]),
    "save_extra": lambda log, t: log.save_extra(t, {"b": 2}),
    "claim_run": lambda log, t: log.claim_run(t, "new"),
    "mark_run_complete": lambda log, t: log.mark_run_complete(t, "open"),
    "release_run": lambda log, t: log.release_run(t, "asks"),
    "clear_pending_request_if_matches": lambda log, t: log.clear_pending_request_if_matches(
        t, question_id="q", run_id="asks"
    ),
    "save_pending_request": lambda log, t: log.save_pending_request(t, QUESTION),
    "save_hitl_answer": lambda log, t: log.save_hitl_answer(t, "q2", "no"),
    "clear_hitl_answers": lambda log, t: log.clear_hitl_answers(t, ["q2"]),
    "renew": _renew,
    "release": lambda log, t: log.release(_claim(t)),
    "truncate": _truncate,
    "erase_thread": _erasable,
    "reencrypt": lambda log, t: log.reencrypt(t),
    "reencrypt_all": _reencrypt_all,
    "delete_thread": lambda log, t: log.delete_thread(t, detach_forks=True),
}
CREATING: Final = {
    "append",
    "save_extra",
    "claim_run",
    "save_pending_request",
    "save_hitl_answer",
}
SILENT: Final = {"clear_hitl_answers", "release", "reencrypt", "reencrypt_all"}
"""Methods that do the same for an unknown thread; their effect is compared.

Without an encryption two of them raise an error; tests/encryption has their scopes.
"""


async def _fill(log: Any, thread_id: str) -> None:
    """Store a thread of which every method has something to find."""
    await log.claim_run(thread_id, "done")
    await log.append(thread_id, [UserFactory(run_id="done"), UserFactory(), UserFactory()])
    await log.truncate(thread_id, after_seq=2, ignore_open_runs=True)
    await log.mark_run_complete(thread_id, "done")
    await log.claim_run(thread_id, "open")
    hour = timedelta(hours=1)
    _CLAIMS[thread_id] = await log.claim_run(thread_id, "leased", lease=hour)
    await log.claim_run(thread_id, "asks")
    await log.save_extra(thread_id, {"a": 1})
    await log.save_hitl_answer(thread_id, "q", "yes")
    question = HitlRequestFactory(question_id="q")
    await log.save_pending_request(thread_id, question, run_id="asks")


async def _outcome(call: Call, log: Any, thread_id: str) -> Any:
    """Return the result of a call, or its error, without the thread's name."""
    try:
        return await call(log, thread_id)
    except ThreadlogError as error:
        return type(error), str(error).replace(thread_id, "THREAD")


async def _rows(url: str) -> list[Any]:
    """Return all rows of both parts of the schema."""

    def read(connection: Connection) -> list[Any]:
        tables = [t for part in (MESSAGES, CONTROL) for t in part.metadata.sorted_tables]
        return [sorted(map(repr, connection.execute(select(table)).all())) for table in tables]

    return await on_connection(url, read)


def _methods(*classes: type) -> set[str]:
    names = {name for each in classes for name, value in vars(each).items() if isfunction(value)}
    return {name for name in names if not name.startswith("_")}


def test_every_public_method_has_a_case() -> None:
    assert _methods(MessageLog, ScopedCheckpointer) == set(CALLS)
    assert _methods(SyncMessageLog, SyncScopedCheckpointer) == set(CALLS)
    assert _methods(BoundCheckpointer, SyncBoundCheckpointer) == {"scoped"}
    of_all_owners = {"ping", "prune_older_than", "erase_owner"}
    assert _methods(Checkpointer, SyncCheckpointer) == {"scoped", "bind"} | of_all_owners


def test_a_scoped_operation_that_does_not_name_its_thread_is_refused(sqlite_url: str) -> None:
    def renamed(transactions: TransactionRunner, thread: str) -> list[Any]:
        return transactions.read(lambda uow: uow.runs.of_thread(thread))

    def renamed_write(transactions: TransactionRunner, thread: str) -> None:
        transactions.write(lambda uow: uow.threads.touch(thread))

    with SyncCheckpointer(sqlite_url) as log:
        client = log.scoped("me").client
        with pytest.raises(TypeError, match="no argument thread_id"):
            client.read(renamed, "t")
        with pytest.raises(TypeError, match="no argument thread_id"):
            client.write(renamed_write, "t")


# Locks and the conditions of reads: drivers and databases differ in them.
@pytest.mark.whole_matrix
async def test_foreign_threads_are_as_absent_as_unknown_ones(
    checkpointer: Checkpointer, database_url: str
) -> None:
    scoped = checkpointer.scoped("me")
    await _fill(checkpointer.scoped("another"), "foreign")
    await _fill(checkpointer, "ownerless")
    before = await _rows(database_url)
    for name, call in CALLS.items():
        for thread_id in ("foreign", "ownerless"):
            outcome = await _outcome(call, scoped, thread_id)
            if name in CREATING:
                assert outcome[0] is ThreadOwnedError, (name, thread_id)
            else:
                assert outcome == await _outcome(call, scoped, "unknown"), (name, thread_id)
        assert await _rows(database_url) == before, name
    for thread_id in ("foreign", "ownerless"):
        assert (await scoped.erase_thread(thread_id, forks="erase")).thread_ids == ()
    await scoped.save_pending_request("foreign", None)
    await scoped.clear_hitl_answers("foreign")
    await scoped.clear_hitl_answers("ownerless")
    assert await _rows(database_url) == before


@pytest.mark.whole_matrix
async def test_own_threads_are_as_without_a_scope(checkpointer: Checkpointer) -> None:
    scoped = checkpointer.scoped("me")
    await _fill(scoped, "mine")
    await _fill(checkpointer, "twin")
    await checkpointer.save_extra("twin", {}, owner="me")
    for name, call in CALLS.items():
        unknown = await _outcome(call, scoped, "unknown") if name not in CREATING else ...
        mine, twin = (
            await _outcome(call, scoped, "mine"),
            await _outcome(call, checkpointer, "twin"),
        )
        if name in {"load", "read", "stream", "snapshot", "load_pending", "load_pending_request"}:
            assert bool(mine), name  # other messages, and another question
            assert bool(twin), name
        else:
            assert mine == twin, name
        assert name in SILENT or mine != unknown, name
        if name != "delete_thread":
            after = [await _outcome(each, scoped, "mine") for each in (_runs, _listed)]
            assert after == [
                await _outcome(each, checkpointer, "twin") for each in (_runs, _listed)
            ]
    assert await scoped.load_hitl_answer("mine", "q") is None
    assert [t.thread_id for t in await scoped.list_threads()] == ["mine/fork", "twin/fork"]


@pytest.mark.parametrize("name", sorted(CREATING))
async def test_a_thread_that_a_scope_creates_belongs_to_the_owner(
    checkpointer: Checkpointer, name: str
) -> None:
    await CALLS[name](checkpointer.scoped("me"), "new")
    await CALLS["save_extra"](checkpointer.scoped("me"), "new")
    (summary,) = await checkpointer.list_threads()
    assert (summary.owner, summary.forked_at_seq) == ("me", None)
    with pytest.raises(ThreadOwnedError, match="'new'") as caught:
        await CALLS[name](checkpointer.scoped("another"), "new")
    assert caught.value.thread_id == "new"


async def test_a_scope_names_no_other_owner(checkpointer: Checkpointer) -> None:
    scoped = checkpointer.scoped("me")
    await scoped.append("t", [UserFactory()], owner="me")
    await scoped.claim_run("t", "r", owner="me")
    assert len(await scoped.list_threads(owner="me")) == 1
    for call in (
        lambda: scoped.append("t", [UserFactory()], owner="another"),
        lambda: scoped.claim_run("t", "r2", owner="another"),
        lambda: scoped.fork("t", "f", after_run_id="r", owner="another"),
        lambda: scoped.list_threads(owner="another"),
        lambda: scoped.stale_runs(timedelta(0), owner="another"),
    ):
        with pytest.raises(InvalidInputError, match="scoped to 'me'"):
            await call()
    assert [t.last_seq for t in await checkpointer.list_threads()] == [1]
