"""A schema on a server as a few numbers that can be compared."""

from typing import Final

from sqlalchemy import Connection, text

# Columns, indexes, partitions and tables of the database.
_MYSQL: Final = (
    "SELECT (SELECT SUM(CRC32(CONCAT_WS('|', table_name, column_name, column_type, collation_name,"
    " is_nullable, column_default, extra))) FROM information_schema.columns"
    " WHERE table_schema = DATABASE()),"
    " (SELECT SUM(CRC32(CONCAT_WS('|', table_name, index_name, column_name, seq_in_index)))"
    " FROM information_schema.statistics WHERE table_schema = DATABASE()),"
    " (SELECT SUM(CRC32(CONCAT_WS('|', table_name, partition_name, partition_method,"
    " partition_expression))) FROM information_schema.partitions"
    " WHERE table_schema = DATABASE()),"
    " (SELECT GROUP_CONCAT(table_name, engine ORDER BY table_name) FROM information_schema.tables"
    " WHERE table_schema = DATABASE())"
)

# The catalogs' rows of everything that is not the server's own, by the transactions that wrote
# them: DDL writes them anew. Rendering each definition takes the server twice as long.
_FIRST_OID: Final = 16384
_CATALOGS: Final = {
    "pg_class": "oid",
    "pg_attribute": "attrelid",
    "pg_attrdef": "oid",
    "pg_index": "indexrelid",
    "pg_constraint": "oid",
    "pg_trigger": "oid",
    "pg_proc": "oid",
}
_POSTGRES: Final = "SELECT " + ", ".join(
    f"(SELECT SUM(hashtext(CONCAT_WS('|', {oid}, xmin))) FROM {catalog}"
    f" WHERE {oid} >= {_FIRST_OID})"
    for catalog, oid in _CATALOGS.items()
)

_QUERIES: Final = {"mysql": _MYSQL, "mariadb": _MYSQL, "postgresql": _POSTGRES}


def fingerprint(connection: Connection) -> tuple[object, ...]:
    """Return everything that a test may have changed in the schema of a server's database."""
    return tuple(connection.execute(text(_QUERIES[connection.dialect.name])).one())
