"""Databases with everything that can be exported, and the files of exports."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from langgraph.constants import END, START
from langgraph.graph.state import StateGraph
from typing_extensions import TypedDict

from tests.cli.helpers import threadlog
from tests.copying import test_graph_state, test_memories
from tests.support.ends import Rows, add, fill, held_by, rows_of, said
from threadlog import Checkpointer
from threadlog.langgraph import Saver
from threadlog.models import CONTROL, GRAPH, MESSAGES, METADATA, STORE, Message, SchemaPart

PARTS: Final = (MESSAGES, GRAPH, STORE, CONTROL, METADATA)

NO_MESSAGE: Final = b"\xff\x00 of another program"


class State(TypedDict, total=False):
    """The state of a graph, with bytes."""

    said: str
    data: bytes


def _answer(state: State) -> State:
    return {"said": f"{state['said']}!", "data": b"\0\xff" * 100}


async def run_graph(url: str, thread_id: str) -> Any:
    """Run a graph on a thread, and return its last state."""
    builder = StateGraph(State)
    builder.add_sequence([("first", _answer), ("second", _answer)])
    builder.add_edge(START, "first")
    builder.add_edge("second", END)
    async with Saver(url) as saver:
        graph = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": thread_id}}
        if (await graph.aget_state(config)).values:
            return (await graph.aget_state(config)).values
        return await graph.ainvoke({"said": "hi"}, config)


async def fill_everything(url: str) -> None:
    """Fill a database with every kind of row."""
    await fill(url)
    await test_graph_state.fill(url)
    await test_memories.fill(url)
    await run_graph(url, "m")
    async with Checkpointer(url) as checkpointer:
        await checkpointer.append("owned", said("a", "b", "c"), owner="ann", key="first")
        await checkpointer.truncate("owned", after_seq=2)
        await checkpointer.append("owned", said("d"), key="second")
        await checkpointer.fork("owned", "Owned", at_seq=4)
    await add(url, Message, thread_id="m", seq=9, role="user", payload=NO_MESSAGE, metadata={})


def migrated(url: str) -> str:
    """Return a URL of a database, to which every part is added."""
    assert threadlog("migrate", url).exit_code == 0
    return url


def export(url: str, file: Path, *options: str) -> list[dict[str, Any]]:
    """Write an export, and return its lines."""
    result = threadlog("export", url, "--output", str(file), *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def imported(file: Path, url: str, *options: str) -> dict[str, tuple[int, int, int]]:
    """Import an export without a fault; return the counts imported, unchanged and of rows."""
    result = threadlog("import", str(file), "--url", url, "--json", *options)
    assert result.exit_code == 0, result.output
    groups = json.loads(result.stdout)["groups"]
    return {g["group"]: (g["copied"], g["unchanged"], g["rows"]) for g in groups}


def refusal(file: Path, url: str, *options: str) -> str:
    """Import a file that is refused as a whole; return the reason."""
    result = threadlog("import", str(file), "--url", url, *options)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


def all_rows(url: str, *parts: SchemaPart) -> Rows:
    """Read all rows of parts of the schema."""
    found: Rows = {}
    for part in parts or PARTS:
        found |= asyncio.run(rows_of(url, part))
    return found


def same_rows(source: str, target: str, rows: Rows) -> bool:
    """Return True if the target has these rows of the source, with times as it can store them."""
    held = held_by(target, {name: found for name, found in rows.items() if "cubepi" in name})
    return all_rows(target) == {**rows, **held}
