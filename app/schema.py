"""Whether the database's schema is the one that this release reads and writes."""

from threadlog.errors import CubepiSchemaMismatch, CubepiSchemaUninitialized
from threadlog.models import EXPECTED_SCHEMA_VERSION
from threadlog.repositories import UnitOfWork


def verify_schema(uow: UnitOfWork) -> None:
    """Refuse a schema of another version, or of none.

    Raises:
        CubepiSchemaUninitialized: the tables or their version are missing.
        CubepiSchemaMismatch: the schema has another version.
    """
    if not uow.catalogue.has_version_table():
        data_tables = uow.catalogue.tables() - {"cubepi_schema_version"}
        if data_tables:
            raise CubepiSchemaMismatch(
                expected=EXPECTED_SCHEMA_VERSION,
                actual=0,
                hint=(
                    f"There are data tables ({', '.join(sorted(data_tables))}) but no version "
                    "table. Restore cubepi_schema_version from the migrations that made them; "
                    "do not create tables over existing data."
                ),
            )
        raise CubepiSchemaUninitialized(
            "The database has none of threadlog's tables. Run: threadlog migrate URL, or "
            "upgrade with the host's own migrations."
        )
    versions = uow.schema_version.read()
    if not versions:
        raise CubepiSchemaUninitialized(
            "The table cubepi_schema_version is empty: a migration did not finish. Run: "
            "threadlog migrate URL, or let the host's migration execute "
            "write_schema_version_op()."
        )
    if versions != [EXPECTED_SCHEMA_VERSION]:
        raise _mismatch(versions)


def _mismatch(versions: list[int]) -> CubepiSchemaMismatch:
    others = [version for version in versions if version != EXPECTED_SCHEMA_VERSION]
    actual = max(others)
    if len(versions) > 1:
        hint = (
            f"The version table holds {versions}; it must hold one row. Execute "
            "write_schema_version_op() once the schema is at the newest of them."
        )
    elif actual > EXPECTED_SCHEMA_VERSION:
        hint = "The database is newer: upgrade threadlog."
    else:
        hint = (
            "The database is older: upgrade it with the migrations that made it, then execute "
            "write_schema_version_op()."
        )
    return CubepiSchemaMismatch(expected=EXPECTED_SCHEMA_VERSION, actual=actual, hint=hint)
