"""Opening a database."""

from threadlog.databases.base import Backend
from threadlog.errors import UnsupportedServerError
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import Store
from threadlog.schema.verify import verify_schema


def open_database(
    store: Store,
    backend: Backend,
    *,
    engine_is_external: bool,
    initialise: bool,
    verify: bool,
    only: str | None,
) -> int:
    """Verify server and schema; see `Checkpointer.__aenter__`.

    Args:
        store: the database.
        backend: what knows it.
        engine_is_external: whether the host made the engine: its sessions are verified too, and
            its schema is the host's to create.
        initialise: whether an embedded database without tables is given them.
        verify: whether to verify the schema too.
        only: the one kind of server that is taken; None for each that the backend knows.

    Returns:
        The most bytes that one statement may have.
    """

    def look(uow: UnitOfWork) -> int:
        found = backend.verify_server(uow)
        if only not in {None, found}:
            raise UnsupportedServerError(
                found=found, required=f"{only} here; Checkpointer takes both"
            )
        if engine_is_external:
            backend.verify_session(uow)
        elif initialise:
            backend.initialise_schema(uow, store.part)
        if verify:
            verify_schema(uow, store.part)
        return backend.statement_limit(uow)

    return store.read(look) if engine_is_external else store.write(look)
