"""Deleting what nothing needs any more: by thread, by run, by age."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from sqlalchemy import text

from tests.graph.saver.making import (
    checkpoint_of,
    config_for,
    id_of,
    ids,
    metadata_of,
    put_chain,
)
from tests.support.databases import execute, on_connection
from threadlog.errors import InvalidInputError
from threadlog.graph import checkpoints as checkpoint_operations
from threadlog.langgraph import Pruned, Saver


async def rows(url: str) -> tuple[int, int, int]:
    """Count checkpoints, writes and values."""
    tables = ("checkpoints", "checkpoint_writes", "checkpoint_blobs")

    def work(connection: Any) -> list[int]:
        count = "SELECT COUNT(*) FROM threadlog_"
        return [connection.exec_driver_sql(count + table).scalar_one() for table in tables]

    checkpoints, writes, blobs = await on_connection(url, work)
    return checkpoints, writes, blobs


async def age(url: str, days: int, where: str = "1 = 1") -> None:
    """Set the creation of checkpoints to so many days ago."""
    past = {
        "sqlite": f"strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-{days} days')",
        "mysql": f"UTC_TIMESTAMP(6) - INTERVAL {days} DAY",
        "mariadb": f"UTC_TIMESTAMP(6) - INTERVAL {days} DAY",
        "postgresql": f"CURRENT_TIMESTAMP - INTERVAL '{days} days'",
    }[url.partition(":")[0]]
    await execute(url, f"UPDATE threadlog_checkpoints SET created_at = {past} WHERE {where}")


async def test_keep_latest_leaves_the_newest_of_each_namespace_and_no_garbage(
    saver: Saver, graph_url: str
) -> None:
    for space in ("", "child:1", "child "):
        for config in await put_chain(saver, "t", 5, space):
            await saver.aput_writes(config, [("w", 1)], "task")
    await put_chain(saver, "other", 2)
    assert await rows(graph_url) == (17, 15, 3 * 6 + 3)
    await saver.aprune(["t", "missing"])
    assert await rows(graph_url) == (3 + 2, 3, 3 * 2 + 3)
    for space in ("", "child:1", "child "):
        found = await saver.aget_tuple(config_for("t", space))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"step": 4, "same": "x"}
        assert found.pending_writes == [("task", "w", 1)]
    await saver.aprune(["t"], strategy="delete")
    assert await rows(graph_url) == (2, 0, 3)


async def test_a_value_that_a_kept_checkpoint_shares_stays(saver: Saver, graph_url: str) -> None:
    """Values are deleted by what refers to them, not by when they were stored."""
    first, *_ = await put_chain(saver, "t", 3)
    await saver.adelete_for_runs([])
    await saver.aprune(["t"])
    found = await saver.aget_tuple(config_for("t"))
    assert found is not None
    assert found.checkpoint["channel_values"]["same"] == "x"
    assert await saver.aget_tuple(first) is None
    assert (await rows(graph_url))[2] == 2


async def test_runs_are_deleted_with_what_only_they_refer_to(saver: Saver, graph_url: str) -> None:
    for thread_id, space in (("t", ""), ("t", "child:1"), ("u", "")):
        await put_chain(saver, thread_id, 2, space, run_id="r1")
        await put_chain(saver, thread_id, 3, space, run_id="r2")
    await saver.adelete_for_runs(["r1", "missing"])
    for thread_id, space in (("t", ""), ("t", "child:1"), ("u", "")):
        listed = [found async for found in saver.alist(config_for(thread_id, space))]
        assert [found.metadata["run_id"] for found in listed] == ["r2"] * 3
        assert all(found.checkpoint["channel_values"]["same"] == "x" for found in listed)
    assert await rows(graph_url) == (9, 0, 3 * (3 + 1))
    await saver.adelete_for_runs(["r2"])
    assert await rows(graph_url) == (0, 0, 0)


async def put_delta(saver: Saver, thread_id: str, length: int, every: int) -> list[Any]:
    """Write a chain whose channel ``d`` accumulates writes, with a snapshot now and then."""
    config, stored = config_for(thread_id), []
    for step in range(length):
        snapshot = every and step % every == 0
        version = f"{step + 1:032}.1"
        values = {"d": _DeltaSnapshot(list(range(step)))} if snapshot else {}
        counters = {} if snapshot else {"counters_since_delta_snapshot": {"d": (1, 1)}}
        config = await saver.aput(
            config,
            checkpoint_of(values, {"d": version, "plain": version}),
            metadata_of(step, **counters),
            {"d": version, "plain": version},
        )
        await saver.aput_writes(config, [("d", step)], f"task {step}")
        stored.append(config)
    return stored


async def total(saver: Saver, config: Any) -> list[int]:
    """Add up the channel ``d`` as of a checkpoint."""
    history = (await saver.aget_delta_channel_history(config=config, channels=["d"]))["d"]
    seed = history["seed"].value if "seed" in history else []
    return [*seed, *(value for _, _, value in history["writes"])]


@pytest.mark.parametrize(
    ("length", "every", "left"),
    [(12, 5, 2), (11, 5, 1), (10, 5, 5), (7, 0, 7), (1_203, 0, 1_203), (1_203, 700, 503)],
)
async def test_what_delta_channels_add_up_from_stays(
    saver: Saver, length: int, every: int, left: int
) -> None:
    configs = await put_delta(saver, "t", length, every)
    before = await total(saver, configs[-1])
    snapshot_is_newest = every and (length - 1) % every == 0
    if not snapshot_is_newest:
        assert before == list(range(length - 1))
    await saver.aprune(["t"])
    assert len(await ids(saver.alist(config_for("t")))) == left
    if not snapshot_is_newest:
        assert await total(saver, config_for("t")) == before
    newest = await saver.aget_tuple(config_for("t"))
    assert newest is not None
    assert newest.config == configs[-1]
    await saver.aprune(["t"])
    assert len(await ids(saver.alist(config_for("t")))) == left


async def test_a_history_whose_ancestors_go_meanwhile_is_read_again(
    mysql_graph_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the returned history existed at one point in time.

    On MySQL, where each reading statement sees what others committed in between.
    """
    walk = checkpoint_operations._walk
    walks: list[list[str]] = []

    def interrupted(*arguments: Any) -> Any:
        ancestry = walk(*arguments)
        walks.append(ancestry.needed)
        if len(walks) == 1:
            session = arguments[0].session
            gone = ", ".join(f"'{id_of(config)}'" for config in configs[:4])
            for table in ("checkpoints", "checkpoint_writes"):
                session.execute(
                    text(f"DELETE FROM threadlog_{table} WHERE checkpoint_id IN ({gone})")
                )
            session.execute(text("DELETE FROM threadlog_checkpoint_blobs"))
        return ancestry

    async with Saver(mysql_graph_url) as saver:
        configs = await put_delta(saver, "t", 6, 3)
        monkeypatch.setattr(checkpoint_operations, "_walk", interrupted)
        history = await saver.aget_delta_channel_history(config=configs[5], channels=["d"])
    assert [value for _, _, value in history["d"]["writes"]] == [4]
    assert "seed" not in history["d"]
    assert walks == [[id_of(configs[4]), id_of(configs[3])], [id_of(configs[4])]]


async def test_old_checkpoints_go_but_for_the_newest(saver: Saver, graph_url: str) -> None:
    old = await put_chain(saver, "t", 4)
    await put_chain(saver, "t", 3, "child:1")
    await put_chain(saver, "idle", 2)
    await age(graph_url, 40)
    new = await put_chain(saver, "t", 2)
    await put_chain(saver, "fresh", 2)
    everything = await rows(graph_url)
    for days, expected in ((41, Pruned()), (39, Pruned(2, 4 + 2 + 1))):
        dry = await saver.aprune_older_than(timedelta(days=days), dry_run=True)
        assert (dry, await rows(graph_url)) == (expected, everything)
    done = await saver.aprune_older_than(timedelta(days=39))
    assert (done.threads, done.checkpoints, done.blobs) == (2, 7, 4 + 2 + 1)
    assert await ids(saver.alist(config_for("t", ""))) == [id_of(c) for c in reversed(new)]
    assert len(await ids(saver.alist(config_for("t", "child:1")))) == 1
    assert len(await ids(saver.alist(config_for("idle")))) == 1
    assert len(await ids(saver.alist(config_for("fresh")))) == 2
    assert await saver.aget_tuple(old[-1]) is None
    assert await saver.aprune_older_than(timedelta(days=39)) == Pruned()


async def test_threads_that_are_old_throughout_go_whole(saver: Saver, graph_url: str) -> None:
    await put_chain(saver, "idle", 3)
    await put_chain(saver, "t", 2)
    await age(graph_url, 40)
    await put_chain(saver, "t", 1)
    for dry_run in (True, False):
        done = await saver.aprune_older_than(timedelta(days=30), strategy="delete", dry_run=dry_run)
        assert (done.threads, done.checkpoints) == (1, 3)
    assert await ids(saver.alist(config_for("idle"))) == []
    assert len(await ids(saver.alist(config_for("t")))) == 3


async def test_old_ancestors_that_a_delta_channel_needs_stay(saver: Saver, graph_url: str) -> None:
    """Age deletes nothing that a newer value adds up from."""
    configs = await put_delta(saver, "t", 9, 4)
    await age(graph_url, 40, f"checkpoint_id < '{id_of(configs[7])}'")
    before = await total(saver, configs[7])
    await saver.aprune_older_than(timedelta(days=30))
    assert await ids(saver.alist(config_for("t"))) == [id_of(c) for c in reversed(configs[4:])]
    assert await total(saver, configs[7]) == before == list(range(7))


async def test_more_threads_than_a_page_are_pruned(saver: Saver, graph_url: str) -> None:
    """Paging misses none: 120 threads, of which 100 are looked up at a time."""
    for number in range(120):
        await put_chain(saver, f"t{number}", 2)
    await age(graph_url, 2)
    assert (await saver.aprune_older_than(timedelta(days=1))).threads == 120
    assert (await rows(graph_url))[0] == 120


async def test_synchronous_savers_prune_by_age_too(graph_url: str) -> None:
    with Saver(graph_url) as saver:
        config = config_for("t")
        for step in range(3):
            checkpoint = checkpoint_of({"a": step}, {"a": str(step)})
            config = saver.put(config, checkpoint, metadata_of(), {"a": str(step)})
        assert saver.prune_older_than(timedelta(0), dry_run=True) == Pruned(1, 2)
        assert saver.prune_older_than(timedelta(0)) == Pruned(1, 2, 0, 2)
        assert len(list(saver.list(config_for("t")))) == 1


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda saver: saver.aprune(["t"], strategy="all"), "strategy must be 'keep_latest' or"),
        (lambda saver: saver.aprune("t"), "thread_ids must be a list of ids"),
        (lambda saver: saver.adelete_for_runs("r"), "run_ids must be a list of ids"),
        (lambda saver: saver.aprune_older_than(30), "must be a timedelta"),
        (lambda saver: saver.aprune_older_than(timedelta(days=-1)), "not negative"),
        (
            lambda saver: saver.aprune_older_than(timedelta(0), strategy="x"),
            "strategy must be 'keep_latest' or",
        ),
    ],
)
async def test_wrong_arguments_delete_nothing(
    saver: Saver, graph_url: str, work: Any, reason: str
) -> None:
    await put_chain(saver, "t", 3)
    with pytest.raises(InvalidInputError, match=reason):
        await work(saver)
    assert (await rows(graph_url))[0] == 3


async def test_pruning_beside_a_run_loses_nothing_of_it(saver: Saver, graph_url: str) -> None:

    async def steps() -> None:
        config = config_for("t")
        for step in range(60):
            versions: dict[str, Any] = {
                "step": f"{step:032}",
                **({"same": "1"} if step == 0 else {}),
            }
            checkpoint = checkpoint_of(
                {"step": step, "same": "x"}, {"step": f"{step:032}", "same": "1"}
            )
            config = await saver.aput(config, checkpoint, metadata_of(step), versions)
            found = await saver.aget_tuple(config_for("t"))
            assert found is not None
            assert found.checkpoint["channel_values"] == {"step": step, "same": "x"}

    async def prunes(done: asyncio.Event) -> int:
        count = 0
        while not done.is_set():
            await saver.aprune(["t"])
            count += 1
            await asyncio.sleep(0)
        return count

    done = asyncio.Event()
    pruning = asyncio.create_task(prunes(done))
    await steps()
    done.set()
    print(f"{graph_url.partition(':')[0]}: 60 steps beside {await pruning} prunes")
    await saver.aprune(["t"])
    assert await rows(graph_url) == (1, 0, 2)


async def test_each_checkpoint_is_stored_with_its_own_time(saver: Saver, graph_url: str) -> None:
    """A statement that is compiled once does not keep the time of its first execution."""
    for thread in ("a", "b"):
        await put_chain(saver, thread, 1)
        await asyncio.sleep(0.01)

    def times(connection: Any) -> list[Any]:
        query = "SELECT created_at FROM threadlog_checkpoints ORDER BY thread_id"
        return list(connection.exec_driver_sql(query).scalars())

    first, second = await on_connection(graph_url, times)
    assert first < second
