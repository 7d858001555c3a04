"""Clients that run each operation in the scope of one owner."""

from typing import ParamSpec, TypeVar

from threadlog.databases.base import DatabaseFacts
from threadlog.log.owners import in_scope
from threadlog.runtime.client import AsyncClient
from threadlog.runtime.sync_client import SyncClient
from threadlog.runtime.transactions import Operation

P = ParamSpec("P")
T = TypeVar("T")


class ScopedClient:
    """Runs operations that see the threads of one owner, through another client."""

    def __init__(self, client: AsyncClient, owner: str) -> None:
        """Create a client; `Checkpointer.scoped` does."""
        self._client, self._owner = client, owner
        self.backend = client.backend

    def __str__(self) -> str:
        """Return the owner, and the URL without its password."""
        return f"{self._client} for {self._owner!r}"

    @property
    def is_open(self) -> bool:
        """True if the other client is open."""
        return self._client.is_open

    async def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads."""
        return await self._client.read(in_scope, self._owner, operation, *args, **kwargs)

    async def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write."""
        return await self._client.write(in_scope, self._owner, operation, *args, **kwargs)


class ScopedSyncClient:
    """A `ScopedClient` without asyncio."""

    def __init__(self, client: SyncClient, owner: str) -> None:
        """Create a client; `SyncCheckpointer.scoped` does."""
        self._client, self._owner = client, owner
        self.backend = client.backend

    def __str__(self) -> str:
        """Return the owner, and the URL without its password."""
        return f"{self._client} for {self._owner!r}"

    @property
    def is_open(self) -> bool:
        """True if the other client is open."""
        return self._client.is_open

    @property
    def facts(self) -> DatabaseFacts:
        """Facts about the database; known once the other client is open."""
        return self._client.facts

    def read(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads."""
        return self._client.read(in_scope, self._owner, operation, *args, **kwargs)

    def write(self, operation: Operation[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that may write."""
        return self._client.write(in_scope, self._owner, operation, *args, **kwargs)
