"""Everything that is measured, in order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.peers.agents_sdk import AgentsSDK
from benchmarks.peers.cubeloop_tables import CubeloopTables
from benchmarks.peers.elsewhere import opened_elsewhere
from benchmarks.peers.floor import Floor
from benchmarks.peers.framework import Framework
from benchmarks.peers.graph_savers import opened_savers
from benchmarks.peers.graph_stores import opened_stores
from benchmarks.peers.names import OURS, OURS_ON_SQLITE
from benchmarks.peers.ours import Ours
from benchmarks.peers.ours_sync import OursSync
from benchmarks.piece import Piece
from benchmarks.place import Place
from benchmarks.scale import Scale
from benchmarks.setting import Setting
from benchmarks.work import (
    agent_turn,
    appending,
    elsewhere,
    graph_state,
    loading,
    memories,
    streaming,
    writing,
)
from tests.support.counting import StatementCount
from threadlog.cubeloop import Checkpointer


@dataclass(frozen=True)
class Group:
    """Pieces of work whose rounds alternate with each other."""

    pieces: Sequence[Piece]
    rounds: int


@asynccontextmanager
async def everything(scale: Scale, place: Place) -> AsyncIterator[Sequence[Group]]:
    """Open all contenders and give all work, as long as they are open.

    Args:
        scale: how much of it.
        place: where they keep what they are given.
    """
    async with AsyncExitStack() as stack:
        engine = await _engine(stack, make_url(place.mysql).set(drivername="mysql+asyncmy"))
        tables = CubeloopTables(engine)
        ours = await stack.enter_async_context(Ours.opened(place.mysql, tables))
        theirs = await stack.enter_async_context(Framework.opened(place.mysql, tables))
        peers = [
            await stack.enter_async_context(Floor.opened(place.mysql, tables)),
            await stack.enter_async_context(AgentsSDK.opened(place.mysql)),
            await stack.enter_async_context(OursSync.opened(place.mysql, tables)),
        ]
        elsewhere_opened = await stack.enter_async_context(opened_elsewhere(place))
        savers = await stack.enter_async_context(opened_savers(place))
        stores = await stack.enter_async_context(opened_stores(place))
        counting = StatementCount(await stack.enter_async_context(engine.connect()))
        on_sqlite = await _on_sqlite(stack, f"sqlite:///{place.folder}/stream.db")
        work = [
            *_of_logs(Setting(scale, [ours, theirs, *peers])),
            elsewhere.one_writer(elsewhere_opened, scale.appends),
            agent_turn.turns([ours, theirs], counting, scale.turns),
            graph_state.graphs(savers, scale.supersteps, scale.graphs),
            memories.memories(stores, scale.memories),
        ]
        streams = {OURS: (ours.checkpointer, tables), OURS_ON_SQLITE: on_sqlite}
        yield [
            *(Group(pieces, scale.rounds) for pieces in work),
            Group(streaming.streams(streams, scale.streamed), 1),  # what is counted is the same
        ]


def _of_logs(setting: Setting) -> list[Sequence[Piece]]:
    return [
        appending.one_writer(setting),
        writing.own_threads(setting),
        writing.one_thread(setting),
        loading.whole_threads(setting),
        loading.newest_messages(setting),
        appending.to_lengths(setting),
    ]


async def _on_sqlite(stack: AsyncExitStack, url: str) -> tuple[Checkpointer, CubeloopTables]:
    """Open a database of SQLite, which makes its tables, and an engine that fills them."""
    checkpointer = await stack.enter_async_context(Checkpointer(url))
    engine = await _engine(stack, make_url(url).set(drivername="sqlite+aiosqlite"))
    return checkpointer, CubeloopTables(engine)


async def _engine(stack: AsyncExitStack, url: URL) -> AsyncEngine:
    engine = create_async_engine(url)
    stack.push_async_callback(engine.dispose)
    return engine
