"""Nodes that fail, and runs that are killed: what was done is not done again."""

import random
from pathlib import Path

import pytest

from tests.graph.graphs.graphs import KILLABLE, failing
from tests.graph.graphs.histories import comparables, config_of, writes_of
from tests.graph.graphs.processes import kill_worker, run_worker
from tests.graph.ways import Way, reference
from tests.support.seeds import FRESH

ANY = random.Random(FRESH).choice(("first", "third", "last"))


async def test_a_failed_node_is_run_again_and_its_siblings_are_not(
    way: Way, tmp_path: Path
) -> None:
    memory = reference(way)
    for place, name in ((way, "ours"), (memory, "theirs")):
        graph = place.compile(failing(tmp_path / name))
        with pytest.raises(OSError, match="no network"):
            await graph.run({"said": ["hello"]}, config_of())
        broken = await graph.state(config_of())
        assert broken.next == ("bad",)
        assert {task.name: task.error for task in broken.tasks if task.error}.keys() == {"bad"}
        result = await graph.run(None, config_of())
        assert result["said"] == ["hello", "bad", "good 1", "good 2", "join"]
        ran = sorted((tmp_path / name).read_text().split("\n")[:-1])
        assert ran == ["bad", "bad", "good 1", "good 2", "join"]
    ours, theirs = (place.compile(failing(tmp_path / "x")) for place in (way, memory))
    assert comparables(await ours.history(config_of())) == comparables(
        await theirs.history(config_of())
    )
    stored = await way.tuples(config_of())
    assert writes_of(stored) == writes_of(await memory.tuples(config_of()))


@pytest.mark.parametrize(
    "kill", ["right", pytest.param(ANY, marks=pytest.mark.one_database, id="any")]
)
@pytest.mark.processes
def test_a_killed_run_is_finished_by_another_process(
    own_way_name: str, kill: str, graph_url: str, tmp_path: Path
) -> None:
    """After SIGKILL every finished step is there, and none is repeated."""
    ledger = tmp_path / "ledger"
    kill_worker("run_killable", graph_url, own_way_name, str(ledger), kill)
    done = ledger.read_text().split("\n")[:-1] if ledger.exists() else []
    print(f"{graph_url.partition(':')[0]}: killed in {kill!r}, after {done}")
    assert kill not in done
    found, said = run_worker("run_killable", graph_url, own_way_name, str(ledger), "")
    siblings = {"left": ["first", "right"], "right": ["first", "left"]}
    # What a sibling had finished when the process died is part of the state.
    assert found == ["hello", *siblings.get(kill, KILLABLE[: KILLABLE.index(kill)])]
    assert said == ["hello", *KILLABLE]
    assert sorted(ledger.read_text().split("\n")[:-1]) == sorted(KILLABLE)
