"""Many tasks on one saver: nothing but the database makes one wait for another."""

import asyncio
import random

import pytest
from sqlalchemy import text

from tests.graph.saver.making import checkpoint_of, config_for, id_of, ids, metadata_of, put_chain
from tests.support.databases import engine_for
from tests.support.patience import patience
from tests.support.seeds import FRESH
from threadlog.langgraph import Saver

WORKERS = 16


async def test_sixteen_workers_on_threads_of_their_own(graph_url: str) -> None:
    """Each thread holds its own chain, whole and in order."""
    async with Saver(graph_url, max_pool_size=WORKERS) as saver:

        async def work(number: int) -> list[str]:
            configs = await put_chain(saver, f"t{number}", 10)
            for config in configs:
                await saver.aput_writes(config, [("w", number)] * 3, "task")
            return [id_of(config) for config in configs]

        made = await asyncio.gather(*(work(number) for number in range(WORKERS)))
        for number, expected in enumerate(made):
            listed = [found async for found in saver.alist(config_for(f"t{number}"))]
            assert [id_of(found.config) for found in reversed(listed)] == expected
            for found in listed:
                assert found.pending_writes == [("task", "w", number)] * 3


async def test_a_writer_that_waits_holds_up_no_other(innodb_graph_url: str) -> None:
    """There is no lock around the saver: one put waits for a row, fifteen do not."""
    # At MySQL's own default level it would lock the gaps beside the row too.
    engine = engine_for(innodb_graph_url, isolation_level="READ COMMITTED")
    async with Saver(innodb_graph_url, max_pool_size=WORKERS + WORKERS // 2) as saver:
        (config,) = await put_chain(saver, "blocked", 1)
        async with engine.connect() as connection:
            await connection.execute(
                text("SELECT 1 FROM threadlog_checkpoints WHERE thread_id = 'blocked' FOR UPDATE")
            )
            checkpoint = checkpoint_of({"a": 1}, None, id_of(config))
            again = saver.aput(config_for("blocked"), checkpoint, metadata_of(), {"a": "1"})
            waiting = asyncio.create_task(again)
            async with patience():
                await asyncio.gather(
                    *(put_chain(saver, f"t{number}", 5) for number in range(WORKERS - 1))
                )
            assert not waiting.done()
            await connection.rollback()
        await waiting
    await engine.dispose()


@pytest.mark.parametrize("seed", [FRESH])
async def test_parallel_tasks_of_one_step(graph_url: str, seed: int) -> None:
    print(f"seed {seed}")
    draw = random.Random(seed)
    tasks = [(f"path {draw.random():.6f}", f"task {number}") for number in range(WORKERS)]
    async with Saver(graph_url, max_pool_size=WORKERS) as saver:
        (config,) = await put_chain(saver, "t", 1)
        child = asyncio.create_task(
            saver.aput(config, checkpoint_of({}, {"w": "2"}), metadata_of(1), {"w": "2"})
        )
        await asyncio.gather(
            *(saver.aput_writes(config, [("w", path)], task, path) for path, task in tasks)
        )
        after = await child
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == [(task, "w", path) for path, task in sorted(tasks)]
        history = await saver.aget_delta_channel_history(config=after, channels=["w"])
        assert [value for _, _, value in history["w"]["writes"]] == sorted(p for p, _ in tasks)


async def test_the_same_put_by_sixteen_is_one(graph_url: str) -> None:
    """A step which is saved again and again, at once, is stored once."""
    checkpoint = checkpoint_of({"a": 1, "b": 2})
    versions = checkpoint["channel_versions"]
    async with Saver(graph_url, max_pool_size=WORKERS) as saver:
        puts = (
            saver.aput(config_for("t"), checkpoint, metadata_of(), versions) for _ in range(WORKERS)
        )
        configs = await asyncio.gather(*puts)
        await asyncio.gather(
            *(saver.aput_writes(configs[0], [("w", 1), ("__error__", 2)], "task") for _ in configs)
        )
        assert await ids(saver.alist(None)) == [checkpoint["id"]]
        found = await saver.aget_tuple(config_for("t"))
        assert found is not None
        assert found.pending_writes == [("task", "__error__", 2), ("task", "w", 1)]
