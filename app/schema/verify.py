"""Whether the database's schema is the one that this release reads and writes."""

from threadlog.errors import CubepiSchemaMismatch, CubepiSchemaUninitialized
from threadlog.models import SchemaPart
from threadlog.repositories import UnitOfWork


def verify_schema(uow: UnitOfWork, part: SchemaPart) -> None:
    """Refuse a part of the schema that is of another version, or of none.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """
    table = part.version_table.name
    if not uow.catalogue.has_version_table(part):
        data_tables = uow.catalogue.tables(part) - {table}
        if data_tables:
            raise CubepiSchemaMismatch(
                expected=part.version,
                actual=0,
                hint=(
                    f"There are data tables ({', '.join(sorted(data_tables))}) but no version "
                    f"table. Restore {table} from the migrations that made them; "
                    "do not create tables over existing data."
                ),
            )
        raise CubepiSchemaUninitialized(
            f"The database has none of threadlog's tables {_MEANT[part.name]}. Run: threadlog "
            "migrate URL, or upgrade with the host's own migrations."
        )
    versions = uow.schema_version(part).read()
    if not versions:
        raise CubepiSchemaUninitialized(
            f"The table {table} is empty: a migration did not finish. Run: "
            f"threadlog migrate URL, or let the host's migration execute {_WRITES[part.name]}."
        )
    if versions != [part.version]:
        raise _mismatch(versions, part)


_MEANT = {"messages": "for messages", "graph": "for the state of graphs"}
_WRITES = {
    "messages": "write_schema_version_op()",
    "graph": "op.write_threadlog_graph_version()",
}


def _mismatch(versions: list[int], part: SchemaPart) -> CubepiSchemaMismatch:
    others = [version for version in versions if version != part.version]
    actual, writes = max(others), _WRITES[part.name]
    if len(versions) > 1:
        hint = (
            f"The version table holds {versions}; it must hold one row. Execute "
            f"{writes} once the schema is at the newest of them."
        )
    elif actual > part.version:
        hint = "The database is newer: upgrade threadlog."
    else:
        hint = (
            "The database is older: upgrade it with the migrations that made it, then execute "
            f"{writes}."
        )
    return CubepiSchemaMismatch(expected=part.version, actual=actual, hint=hint)
