"""Open a database: verify the server, the session's settings and the schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from threadlog.databases.base import DatabaseFacts
from threadlog.encryption import Encryption
from threadlog.errors import ConfigurationError, ThreadlogError, UnsupportedServerError
from threadlog.models import MESSAGES, SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.runtime.client import EngineClient, FactoryClient
from threadlog.runtime.sync_client import SyncEngineClient, SyncFactoryClient
from threadlog.runtime.transactions import TransactionRunner
from threadlog.schema.verify import additions, verify_schema


async def open_client(
    client: EngineClient | FactoryClient,
    *,
    initialise: bool = True,
    verify: bool = True,
    only: str | None = None,
    encryption: Encryption | None = None,
) -> None:
    """Open a client and verify its database; after an error the client is closed.

    Args:
        client: a closed client.
        initialise: whether an embedded database without tables is given them.
        verify: whether the schema is verified too.
        only: the one kind of server that is accepted; None for each that the backend knows.
        encryption: the application's encryption of the message log.
    """
    await client.open()
    try:
        with _option_errors(external=client.engine_is_external):
            client.facts = await client.write(
                open_database,
                engine_is_external=client.engine_is_external,
                initialise=initialise,
                verify=verify,
                only=only,
            )
            client.facts = with_encryption(client.facts, encryption)
            await client.open_minimum()
    except BaseException:
        await client.close()
        raise


def open_sync_client(
    client: SyncEngineClient | SyncFactoryClient,
    *,
    verify: bool = True,
    encryption: Encryption | None = None,
) -> None:
    """Open a synchronous client and verify its database; see `open_client`."""
    client.open()
    try:
        with _option_errors(external=client.engine_is_external):
            client.facts = client.write(
                open_database, engine_is_external=client.engine_is_external, verify=verify
            )
            client.facts = with_encryption(client.facts, encryption)
            client.open_minimum()
    except BaseException:
        client.close()
        raise


def with_encryption(facts: DatabaseFacts, encryption: Encryption | None) -> DatabaseFacts:
    """Return facts about a database with the application's encryption of the message log.

    Raises:
        ConfigurationError: the database has the search index, which is in plain text.
    """
    if encryption is not None and facts.has_search:
        raise ConfigurationError(
            "The database has the search index, which holds the text of messages unencrypted. Drop "
            "its table and version with op.drop_threadlog_search_schema(), or open the database "
            "without encryption."
        )
    return replace(facts, encryption=encryption)


def open_database(
    transactions: TransactionRunner,
    *,
    engine_is_external: bool,
    initialise: bool = True,
    verify: bool = True,
    only: str | None = None,
) -> DatabaseFacts:
    """Verify server and schema; see `Checkpointer.__aenter__`.

    Args:
        transactions: runs transactions on the database.
        engine_is_external: whether the application made the engine: its sessions are verified
            too, and its schema is the application's to create.
        initialise: see `open_client`, as for the others.
        verify: whether to verify the schema too.
        only: the one kind of server that is accepted.

    Returns:
        Facts about the database.
    """
    backend, part = transactions.backend, transactions.part

    def look(uow: UnitOfWork) -> DatabaseFacts:
        found = backend.verify_server(uow)
        if only not in {None, found}:
            raise UnsupportedServerError(
                found=found, required=f"{only} here, or a Checkpointer, which accepts both"
            )
        if engine_is_external:
            backend.verify_session(uow)
        elif initialise:
            backend.initialise_schema(uow, part)
        limit = backend.statement_limit(uow)
        if not verify:
            return DatabaseFacts(limit)
        verify_schema(uow, part)
        return DatabaseFacts(limit, **additions(uow))

    changes = initialise and not engine_is_external
    return transactions.write(look) if changes else transactions.read(look)


def initialise_schema(transactions: TransactionRunner, part: SchemaPart) -> None:
    """Create a part of the schema if the database is embedded and has none of its tables."""
    if transactions.backend.embedded:
        transactions.write(lambda uow: transactions.backend.initialise_schema(uow, part))


def verify_log(transactions: TransactionRunner) -> dict[str, Any]:
    """Verify the message log; return what else the database has, see `additions`.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """

    def look(uow: UnitOfWork) -> dict[str, Any]:
        verify_schema(uow, MESSAGES)
        return additions(uow)

    return transactions.read(look)


def find_additions(transactions: TransactionRunner) -> dict[str, Any]:
    """Return what the database has beside the message log, or without it; see `additions`."""
    return transactions.read(additions)


def verify_part(transactions: TransactionRunner, part: SchemaPart) -> None:
    """Check that the tables of a part are of this release's version.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """
    transactions.read(lambda uow: verify_schema(uow, part))


@contextmanager
def _option_errors(*, external: bool) -> Iterator[None]:
    """Raise what drivers raise about an option, or its value, as a `ConfigurationError`."""
    try:
        yield
    except ThreadlogError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        where = "engine" if external else "URL"
        reason = str(error).rstrip(".")
        raise ConfigurationError(f"The {where} has an option that is wrong: {reason}.") from error
