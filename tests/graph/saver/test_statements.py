"""How many statements a MySQL server gets: counted by itself."""

import asyncio
from functools import partial
from typing import Any

from sqlalchemy import event

from tests.graph.saver.making import checkpoint_of, config_for, metadata_of, put_chain, thread
from tests.support.counting import StatementCount
from tests.support.databases import engine_for
from threadlog.langgraph import Saver


async def test_put_takes_three(innodb_graph_url: str, count: StatementCount) -> None:
    small = {f"channel {number}": number for number in range(300)}
    large = {f"channel {number}": "x" * 700_000 for number in range(10)}
    async with Saver(innodb_graph_url) as saver:
        await put_chain(saver, "warm", 1)
        for values in ({"a": 1}, small, large):
            checkpoint = checkpoint_of(values)
            arguments = (checkpoint, metadata_of(), checkpoint["channel_versions"])
            made = await count.of(lambda: saver.aput(config_for(thread()), *arguments))  # noqa: B023 - awaited here
            again = await count.of(lambda: saver.aput(config_for("t"), *arguments))  # noqa: B023 - awaited here
            assert (made, again) == (3, 3)
        assert (
            await count.of(lambda: saver.aput(config_for("t"), checkpoint, metadata_of(), {})) == 2
        )


async def test_put_writes_takes_one_and_no_commit(
    innodb_graph_url: str, count: StatementCount
) -> None:
    """More than one statement holds, and writes that replace others, are one transaction."""
    many = [(f"channel {number}", number) for number in range(5_000)]
    large = [("channel", "x" * 700_000)] * 10
    special: list[tuple[str, Any]] = [("__error__", "x"), ("__interrupt__", "y"), ("a", 1)]
    async with Saver(innodb_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
        cases: list[list[tuple[str, Any]]] = [
            [("a", 1)],
            [("a", 1), ("b", 2)],
            [*many],
            [*large],
            special,
        ]
        sent = [
            await count.of(partial(saver.aput_writes, config, writes, f"task {number}"))
            for number, writes in enumerate(cases)
        ]
        assert sent == [1, 1, 1, 1, 2]
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes is not None
        assert len(found.pending_writes) == 1 + 2 + 5_000 + 10 + 3


async def test_synchronous_put_writes_takes_one_and_no_commit(
    innodb_graph_url: str, count: StatementCount
) -> None:
    async with Saver(innodb_graph_url) as saver:
        (config,) = await put_chain(saver, "t", 1)
    with Saver(innodb_graph_url) as plain:
        plain.get_tuple(config)
        writes = [("a", 1), ("b", 2)]
        call = partial(asyncio.to_thread, plain.put_writes, config, writes, "task")
        assert await count.of(call) == 1
        found = plain.get_tuple(config)
    assert found is not None
    assert len(found.pending_writes or []) == 2


async def test_reading_takes_one(innodb_graph_url: str, count: StatementCount) -> None:
    async with Saver(innodb_graph_url) as saver:
        configs = await put_chain(saver, "t", 60)
        await saver.aput_writes(configs[-1], [("a", 1)], "task")
        assert await count.of(lambda: saver.aget_tuple(config_for("t"))) == 1
        assert await count.of(lambda: saver.aget_tuple(configs[3])) == 1
        assert await count.of(lambda: saver.aget_tuple(config_for("none"))) == 1

        async def listed(limit: int | None) -> list[Any]:
            return [found async for found in saver.alist(config_for("t"), limit=limit)]

        assert len(await listed(None)) == 60
        assert await count.of(lambda: listed(10)) == 1
        assert await count.of(lambda: listed(None)) == 3


async def test_deleting_and_copying_are_few(innodb_graph_url: str, count: StatementCount) -> None:
    async with Saver(innodb_graph_url) as saver:
        await put_chain(saver, "t", 5)
        assert await count.of(lambda: saver.adelete_thread("none")) == 5
        assert await count.of(lambda: saver.acopy_thread("t", thread())) == 5


async def test_on_a_hosts_engine_it_is_the_same_and_a_rollback(innodb_graph_url: str) -> None:
    engine = engine_for(innodb_graph_url)
    sent: list[str] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: sent.append(statement),
    )
    async with Saver(engine=engine) as saver:
        (config,) = await put_chain(saver, "t", 1)
        sent.clear()
        await saver.aput(config, checkpoint_of({"a": 1}), metadata_of(), {"a": "1"})
        await saver.aput_writes(config, [("a", 1)], "task")
        await saver.aget_tuple(config)
    await engine.dispose()
    assert [statement.split()[0] for statement in sent] == ["INSERT", "INSERT", "INSERT", "WITH"]
