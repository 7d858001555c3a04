"""Open a database."""

from threadlog.databases.base import Backend
from threadlog.errors import UnsupportedServerError
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import Store
from threadlog.schema.verify import verify_schema


def open_database(
    runner: Store,
    backend: Backend,
    *,
    engine_is_external: bool,
    initialise: bool,
    verify: bool,
    only: str | None,
) -> int:
    """Verify server and schema; see `Checkpointer.__aenter__`.

    Args:
        runner: runs the unit of work.
        backend: the backend of the database.
        engine_is_external: True if the application made the engine. Its sessions are verified
            too, and its schema is not created.
        initialise: True to create the tables in an embedded database without them.
        verify: True to verify the schema too.
        only: the only kind of server to accept; None for all that the backend supports.

    Returns:
        The maximum size of one statement, in bytes.
    """

    def verify_database(uow: UnitOfWork) -> int:
        found = backend.verify_server(uow)
        if only not in {None, found}:
            raise UnsupportedServerError(
                found=found, required=f"{only} here; Checkpointer accepts both"
            )
        if engine_is_external:
            backend.verify_session(uow)
        elif initialise:
            backend.initialise_schema(uow, runner.part)
        if verify:
            verify_schema(uow, runner.part)
        return backend.statement_limit(uow)

    run = runner.read if engine_is_external else runner.write
    return run(verify_database)
