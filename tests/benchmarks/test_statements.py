"""The benchmark's counts of statements, which CI checks because they do not vary as times do."""

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.cubeloop_tables import CubeloopTables
from benchmarks.peers.framework import Framework
from benchmarks.peers.ours import Ours
from benchmarks.work.agent_turn import counted_turn
from tests.support.counting import StatementCount

# What it sends today, commits included.
_OURS = 23


async def test_an_agents_turn_takes_half_the_statements(
    mysql_url: str, count: StatementCount
) -> None:
    tables = CubeloopTables(create_async_engine("sqlite+aiosqlite://"))  # it fills none
    async with Ours.opened(mysql_url, tables) as ours, Framework.opened(mysql_url, tables) as own:
        sent = await counted_turn(ours.checkpointer, count)
        theirs = await counted_turn(own.checkpointer, count)
    print(f"statements of a turn: ours {sent:.0f}, the framework's own {theirs:.0f}")
    assert sent <= 0.5 * theirs
    assert sent <= _OURS
