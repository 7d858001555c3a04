"""Check that the database has the schema that this release reads and writes."""

from typing import Any, Final

from threadlog.errors import CubepiSchemaMismatch, CubepiSchemaUninitialized
from threadlog.models import CONTROL, MESSAGES, PARTS, SEARCH, SchemaPart
from threadlog.repositories import UnitOfWork


def verify_schema(uow: UnitOfWork, part: SchemaPart) -> None:
    """Check that a part of the schema is there and has the version of this release.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """
    table = part.version_table.name
    if not uow.catalogue.has_version_table(part):
        if data_tables := uow.catalogue.tables(part) - {table}:
            raise CubepiSchemaMismatch(
                expected=part.version,
                actual=0,
                hint=(
                    f"There are data tables ({', '.join(sorted(data_tables))}) but no version "
                    f"table. Restore {table} from the migrations that created them; "
                    "do not create tables over existing data."
                ),
            )
        raise CubepiSchemaUninitialized(
            f"The database has none of threadlog's tables for {_CONTENT[part.name]}. "
            f"{how_to_create(uow, part)}"
        )
    versions = uow.schema_version(part).read()
    if not versions:
        raise CubepiSchemaUninitialized(
            f"The table {table} is empty: a migration did not finish. "
            f"{how_to_create(uow, part)} If the tables are complete, execute "
            f"{_VERSION_WRITERS[part.name]} in a migration instead."
        )
    if versions != [part.version]:
        raise _mismatch(versions, part)


def additions(uow: UnitOfWork) -> dict[str, Any]:
    """Return whether the database has the parts that the message log can use without needing them.

    Returns:
        The fields ``has_control`` and ``has_search`` of `DatabaseFacts`.

    Raises:
        CubepiSchemaMismatch: such a part has another version.
    """
    return {"has_control": _has(uow, CONTROL), "has_search": _has(uow, SEARCH)}


def _has(uow: UnitOfWork, part: SchemaPart) -> bool:
    if not uow.catalogue.has_version_table(part):
        return False
    verify_schema(uow, part)
    return True


def how_to_create(uow: UnitOfWork, part: SchemaPart) -> str:
    """Return a sentence that says how to create what is missing of a part.

    Beside an Alembic history of the application ``threadlog migrate`` would create tables that
    the application's next autogenerate wants to drop.
    """
    if uow.catalogue.is_in_another_history(part):
        return (
            "The database has an Alembic history of the application's: execute "
            f"{creation_directive(part)} in a migration of its own."
        )
    return "Run: threadlog migrate URL" + ("" if part in PARTS else f" --part {part.name}")


def creation_directive(part: SchemaPart) -> str:
    """Return the directive by which an application's migration creates a part."""
    name = "threadlog_schema" if part is MESSAGES else f"threadlog_{part.name}_schema"
    return f"op.create_{name}(version={part.version})"


_CONTENT: Final = {
    "messages": "messages",
    "graph": "the state of graphs",
    "store": "the memory store",
    "control": "owners, leases, append keys and truncations",
    "metadata": "the threads and runs of a server",
    "search": "the search index",
}
_VERSION_WRITERS: Final = {
    "messages": "write_schema_version_op()",
    "graph": "op.write_threadlog_graph_version()",
    "store": "op.write_threadlog_store_version()",
    "control": "op.write_threadlog_control_version()",
    "metadata": "op.write_threadlog_metadata_version()",
    "search": "op.write_threadlog_search_version()",
}


def _mismatch(versions: list[int], part: SchemaPart) -> CubepiSchemaMismatch:
    actual = max(version for version in versions if version != part.version)
    writes = _VERSION_WRITERS[part.name]
    if len(versions) > 1:
        hint = (
            f"The version table has the rows {versions}; it must have one row. Execute "
            f"{writes} once the schema has the newest of these versions."
        )
    elif actual > part.version:
        hint = "The database is newer than this release: upgrade threadlog."
    else:
        hint = (
            "The database is older than this release: upgrade it with the migrations that "
            f"created it, then execute {writes}."
        )
    return CubepiSchemaMismatch(expected=part.version, actual=actual, hint=hint)
