"""Tables of a message log, and threads of any length in them, made within the database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# Rows that one statement copies: more in one transaction would only fill the undo log.
_MOST: Final = 1 << 16


class LogTables(ABC):
    """Creates threads by copying their own first messages: a second for 30,000."""

    thread: ClassVar[str]
    """Inserts a thread `:id`."""

    message: ClassVar[str]
    """Inserts a message into thread `:id`; its other parameters are those of `seeds`."""

    copy: ClassVar[str]
    """Copies the first `:count` messages of thread `:id`, of `:have`, behind the last."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use an engine of a database that has the tables."""
        self._engine = engine
        self._made: set[str] = set()

    @abstractmethod
    def seeds(self) -> Sequence[Mapping[str, Any]]:
        """Return the first messages of every thread."""

    async def ensure(self, thread_id: str, length: int = 1) -> str:
        """Create a thread of that length, unless it exists, and return its id."""
        if thread_id not in self._made:
            self._made.add(thread_id)
            have = await self._begin(thread_id, length)
            while have < length:
                count = min(have, length - have, _MOST)
                async with self._engine.begin() as connection:
                    values = {"id": thread_id, "have": have, "count": count}
                    await connection.execute(text(self.copy), values)
                have += count
        return thread_id

    async def _begin(self, thread_id: str, length: int) -> int:
        seeds = [{"id": thread_id, **seed} for seed in self.seeds()[:length]]
        async with self._engine.begin() as connection:
            await connection.execute(text(self.thread), {"id": thread_id})
            await connection.execute(text(self.message), seeds)
        return len(seeds)
