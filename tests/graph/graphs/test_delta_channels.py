"""Channels whose value is what their writes add up to, in an order that shows."""

import asyncio
import random
from typing import Any

import pytest
from langgraph.errors import EmptyInputError
from langgraph.types import Overwrite, StateUpdate

from tests.graph.graphs.graphs import BRANCHES, delta_branches
from tests.graph.graphs.histories import comparable, comparables, config_of
from tests.graph.graphs.processes import run_worker
from tests.graph.ways import WAYS, Runner, Way, reference
from tests.support.seeds import FRESH

ONE_RUN = ["fork", *sorted(BRANCHES), "join"]


@pytest.mark.parametrize("every", [1, 3, 1_000])
async def test_the_value_adds_up_in_the_order_of_the_branches(own_way: Way, every: int) -> None:
    builder = delta_branches(every)
    ours, theirs = own_way.compile(builder), reference(own_way).compile(builder)
    for number in range(1, 5):
        result = await ours.run({"said": ["hello"]}, config_of())
        assert result["said"] == ["hello", *ONE_RUN] * number
        assert result == await theirs.run({"said": ["hello"]}, config_of())
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )


@pytest.mark.processes
async def test_another_process_reads_the_same(way_name: str, graph_url: str) -> None:
    """Nothing but the database holds the value, as of every checkpoint."""
    async with WAYS[way_name](graph_url) as way:
        graph = way.compile(delta_branches(4))
        for _ in range(3):
            await graph.run({"said": ["hello"]}, config_of())
        expected = [state.values["said"] for state in await graph.history(config_of())]
    assert expected[0] == ["hello", *ONE_RUN] * 3
    assert run_worker("read_delta", graph_url, way_name, "4") == [expected]


@pytest.mark.parametrize("seed", [1, FRESH])
@pytest.mark.parametrize("every", [2, 1_000])
async def test_whatever_is_done_the_value_is_the_references(
    own_way: Way, every: int, seed: int
) -> None:
    print(f"seed {seed}, every {every}")
    both = Both(own_way, every, seed)
    for _ in range(14):
        await both.step()
    await both.compare()
    print(f"{both.pruned} checkpoints pruned")


class Both:
    """Does the same to a thread on both savers."""

    def __init__(self, way: Way, every: int, seed: int) -> None:
        """Begin with an empty thread on each."""
        self.way, self.draw = way, random.Random(seed)
        builder = delta_branches(every)
        self.graphs = (way.compile(builder), reference(way).compile(builder))
        self.count = self.pruned = 0
        self.kept = 1_000_000

    async def step(self) -> None:
        """Run a random operation."""
        self.count += 1
        do = self.draw.choice((self.run, self.run, self.write, self.fork, self.copy, self.prune))
        await do()
        await self.compare()

    def values(self, what: str) -> dict[str, Any]:
        """Return values to write: to one channel or both, sometimes replacing all."""
        line: Any = [f"{what} {self.count}"]
        if self.draw.random() < 0.15:
            line = Overwrite(line)
        channels = self.draw.choice((["said"], ["said"], ["silent"], ["said", "silent"]))
        return dict.fromkeys(channels, line)

    async def run(self) -> None:
        """Run it, from the newest state."""
        durability: Any = self.draw.choice(("exit", "async", "sync"))
        given = self.values("hello")
        stop: Any = self.draw.choice((None, ["join"], ["fork"]))
        for graph in self.graphs:
            await graph.run(given, config_of(), durability=durability, interrupt_before=stop)

    async def write(self) -> None:
        """Write to the newest state, once or several times."""
        node = self.draw.choice(("fork", BRANCHES[0], "join"))
        steps = [
            [StateUpdate(self.values(f"written {step}"), node)]
            for step in range(self.draw.choice((1, 1, 3)))
        ]
        for graph in self.graphs:
            await graph.updates(config_of(), steps)

    async def fork(self) -> None:
        """Write to an older state, and run from there."""
        durability: Any = self.draw.choice(("exit", "async", "sync"))
        back, runs = self.draw.randint(0, 6), self.draw.random() < 0.6
        values = self.values("forked")
        for graph in self.graphs:
            forked = await graph.update(await self._back(graph, back), values, "fork")
            if runs:
                await graph.run(None, forked, durability=durability)

    async def copy(self) -> None:
        """Copy an older state's checkpoint, and run from there."""
        ran: list[bool] = []
        back, runs = self.draw.randint(0, 6), self.draw.random() < 0.6
        for graph in self.graphs:
            if not await graph.history(config_of(), limit=1):
                return
            copied = await graph.update(await self._back(graph, back), None, "__copy__")
            if runs:
                ran.append(await _runs_from(graph, copied))
        assert len(set(ran)) <= 1

    async def prune(self) -> None:
        """Prune the thread on ours."""
        before = await self.way.tuples(config_of())
        await self.way.call("prune", ["t"])
        after = await self.way.tuples(config_of())
        self.pruned += len(before) - len(after)
        # How far back both threads still have the same history.
        self.kept = 1 if len(before) > len(after) else self.kept

    async def compare(self) -> None:
        """Compare the newest states."""
        ours, theirs = [comparable(await graph.state(config_of())) for graph in self.graphs]
        for one in (ours, theirs):
            one.pop("has parent")  # which pruning may take
        assert ours == theirs

    async def _back(self, graph: Runner, count: int) -> Any:
        """Return the config of an older state."""
        history = await graph.history(config_of(), limit=count + 1)
        if not history:
            return config_of()
        return history[min(count, self.kept - 1, len(history) - 1)].config


async def _runs_from(graph: Runner, config: Any) -> bool:
    """Run from a checkpoint; return True if nothing was written to it before."""
    try:
        await graph.run(None, config)
    except EmptyInputError:
        return False
    return True


async def test_a_channel_that_is_never_written_keeps_nothing(own_way: Way) -> None:
    """Pruning leaves one checkpoint where the others' values have a snapshot there."""
    graph = own_way.compile(delta_branches(1))
    for _ in range(3):
        await graph.run({"said": ["hello"]}, config_of())
    before = await graph.state(config_of())
    await own_way.call("prune", ["t"])
    assert (await graph.state(config_of())).values == before.values
    assert len(await own_way.tuples(config_of())) == 1


async def test_runs_side_by_side_add_up_each_by_itself(graph_url: str) -> None:
    async with WAYS["own"](graph_url) as way:
        graph = way.compile(delta_branches(3))

        async def work(thread_id: str) -> None:
            for number in range(1, 4):
                result = await graph.run({"said": [thread_id]}, config_of(thread_id))
                assert result["said"] == [thread_id, *ONE_RUN] * number

        await asyncio.gather(*(work(f"t{number}") for number in range(16)))
