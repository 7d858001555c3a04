"""What the server says of itself and of threadlog's tables."""

from typing import Final, NamedTuple

from sqlalchemy import bindparam, inspect, text
from sqlalchemy.orm import Session

from threadlog.models import SchemaVersion, cubepi_metadata

_MAX_ALLOWED_PACKET: Final = text("SELECT @@max_allowed_packet")
_PARTITIONS: Final = text(
    "SELECT MAX(partition_method), COUNT(partition_name), MAX(partition_expression) "
    "FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_name = :table"
)
_COLLATIONS: Final = text(
    "SELECT table_name, column_name, collation_name FROM information_schema.columns "
    "WHERE table_schema = DATABASE() AND table_name IN :tables AND column_name IN :columns "
    "ORDER BY table_name, ordinal_position"
).bindparams(bindparam("tables", expanding=True), bindparam("columns", expanding=True))
_ENGINES: Final = text(
    "SELECT table_name, engine FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name IN :tables ORDER BY table_name"
).bindparams(bindparam("tables", expanding=True))

IDENTIFIER_COLUMNS: Final = ("thread_id", "parent_thread_id", "run_id", "question_id")


class Partitioning(NamedTuple):
    """How MySQL spreads a table."""

    method: str | None
    partitions: int
    expression: str | None


class CatalogueRepository:
    """Questions to the catalogue, bound to one session."""

    def __init__(self, session: Session) -> None:
        """Bind to a session."""
        self._session = session

    def server_version(self) -> tuple[int, ...]:
        """Give the server's version, as the driver read it when it connected."""
        version = self._session.connection().dialect.server_version_info or ()
        return tuple(part for part in version if isinstance(part, int))

    def is_mariadb(self) -> bool:
        """Say whether a server that speaks MySQL's protocol is MariaDB."""
        return bool(getattr(self._session.connection().dialect, "is_mariadb", False))

    def tables(self) -> set[str]:
        """Name those of threadlog's tables that exist."""
        existing = set(inspect(self._session.connection()).get_table_names())
        return existing & set(cubepi_metadata.tables)

    def columns(self, table: str) -> set[str]:
        """Name the columns of an existing table."""
        return {str(c["name"]) for c in inspect(self._session.connection()).get_columns(table)}

    def indexes(self, table: str) -> set[str]:
        """Name the indexes of an existing table."""
        return {str(i["name"]) for i in inspect(self._session.connection()).get_indexes(table)}

    def has_version_table(self) -> bool:
        """Say whether the version table exists and has the column that it is read by."""
        table = SchemaVersion.__tablename__
        return table in self.tables() and "version" in self.columns(table)

    def create_tables(self) -> None:
        """Create what is missing of threadlog's tables. Only for embedded databases."""
        cubepi_metadata.create_all(self._session.connection())

    def max_allowed_packet(self) -> int:
        """Give the largest statement that a MySQL server takes on this session, in bytes."""
        return int(self._session.scalar(_MAX_ALLOWED_PACKET) or 0)

    def partitioning(self, table: str) -> Partitioning:
        """Give the partitioning of a table on MySQL."""
        method, count, expression = self._session.execute(_PARTITIONS, {"table": table}).one()
        return Partitioning(method, count, expression)

    def identifier_collations(self) -> dict[tuple[str, str], str | None]:
        """Give the collation of each (table, column) that holds an identifier, on MySQL."""
        rows = self._session.execute(
            _COLLATIONS,
            {"tables": list(cubepi_metadata.tables), "columns": list(IDENTIFIER_COLUMNS)},
        )
        return {(table, column): collation for table, column, collation in rows}

    def engines(self) -> dict[str, str | None]:
        """Give the storage engine of each table on MySQL."""
        rows = self._session.execute(_ENGINES, {"tables": list(cubepi_metadata.tables)})
        return dict(rows.tuples().all())
