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

# Relations with their partitions, columns, indexes, constraints, triggers and functions of all
# schemas but the server's own.
_POSTGRES: Final = """
WITH space AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
), relation AS (
    SELECT c.oid, nspname, relname, relkind, relpartbound
    FROM pg_class c JOIN space ON space.oid = relnamespace
)
SELECT
    (SELECT SUM(hashtext(CONCAT_WS('|', nspname, relname, relkind,
        pg_get_expr(relpartbound, oid)))) FROM relation),
    (SELECT SUM(hashtext(CONCAT_WS('|', relname, attname, format_type(atttypid, atttypmod),
        attcollation, attnotnull, pg_get_expr(adbin, adrelid))))
        FROM relation JOIN pg_attribute ON attrelid = relation.oid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum),
    (SELECT SUM(hashtext(pg_get_indexdef(indexrelid)))
        FROM relation JOIN pg_index ON indexrelid = relation.oid),
    (SELECT SUM(hashtext(CONCAT_WS('|', relname, conname, pg_get_constraintdef(k.oid))))
        FROM relation JOIN pg_constraint k ON conrelid = relation.oid),
    (SELECT SUM(hashtext(pg_get_triggerdef(t.oid)))
        FROM relation JOIN pg_trigger t ON tgrelid = relation.oid WHERE NOT tgisinternal),
    (SELECT SUM(hashtext(CONCAT_WS('|', proname, prosrc)))
        FROM pg_proc JOIN space ON space.oid = pronamespace)
"""

_QUERIES: Final = {"mysql": _MYSQL, "mariadb": _MYSQL, "postgresql": _POSTGRES}


def fingerprint(connection: Connection) -> tuple[object, ...]:
    """Return everything that a test may have changed in the schema of a server's database."""
    return tuple(connection.execute(text(_QUERIES[connection.dialect.name])).one())
