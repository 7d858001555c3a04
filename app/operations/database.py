"""Opening a database."""

from typing import Any

from threadlog.backends import Backend
from threadlog.repositories import UnitOfWork
from threadlog.schema import verify_schema
from threadlog.store import OwnedStore


def open_database(store: OwnedStore[Any, Any, Any], backend: Backend) -> int:
    """Verify server and schema; see `Checkpointer.__aenter__`.

    Returns:
        The most bytes that one statement may have.
    """

    def verify(uow: UnitOfWork) -> int:
        backend.verify_server(uow)
        backend.initialise_schema(uow)
        verify_schema(uow)
        return backend.statement_limit(uow)

    return store.write(verify)
