"""Queries to the server's catalog about its settings and threadlog's tables."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    Column,
    Executable,
    LargeBinary,
    bindparam,
    delete,
    false,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy import column as column_clause
from sqlalchemy import table as table_clause
from sqlalchemy.schema import CreateColumn, CreateIndex

from threadlog.models import PARTITION_COUNT, SchemaPart
from threadlog.models.dialects.ddl import (
    PARENT_INDEX,
    WAITING_INDEX,
    parent_index,
    waiting_index,
)
from threadlog.models.dialects.names import MYSQL, schema_of
from threadlog.models.dialects.time import utc_now
from threadlog.repositories.base import Repository

_MAX_ALLOWED_PACKET: Final = text("SELECT @@max_allowed_packet")
_PARTITIONS: Final = text(
    "SELECT MAX(partition_method), COUNT(partition_name), MAX(partition_expression) "
    "FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_name = :table"
)
_COLUMNS: Final = text(
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
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

_SESSION: Final = text(
    "SELECT @@autocommit, @@character_set_client, @@sql_mode, @@sql_select_limit"
)

# PostgreSQL does not know whether its client commits each statement; two different transaction
# start times show it.
_ENCODINGS: Final = text("SELECT current_setting('server_encoding'), pg_client_encoding()")
_BEGAN: Final = text("SELECT transaction_timestamp()")

# Identifiers are quoted by the sql_mode of the session that created the table, or of this one.
_QUOTES: Final = re.compile(r"[`\"]")

_COLLATE: Final = re.compile(r"\bCOLLATE (\w+)")


class Collation(NamedTuple):
    """A column's collation on MySQL, and the collation that the models have."""

    found: str | None
    wanted: str


class Partitioning(NamedTuple):
    """A table's partitioning on MySQL."""

    method: str | None
    partitions: int
    expression: str | None
    """Without the quotes of identifiers."""


class SessionSettings(NamedTuple):
    """Settings of a session of MySQL."""

    driver: str
    autocommit: bool
    charset: str
    sql_mode: str
    row_limit: int
    """The rows that a SELECT without LIMIT returns at most."""


class CatalogueRepository(Repository):
    """Queries to the catalog, bound to one session.

    Methods that end in ``_statement`` execute nothing: they return SQL for a person to run.
    """

    def now(self) -> datetime:
        """Return the database's time: in UTC, to the microsecond."""
        return cast("datetime", self.uow.execute(select(utc_now(self.uow.dialect))).scalar())

    def server_version(self) -> tuple[int, ...]:
        """Return the server's version, as the driver read it when it connected."""
        version = self.uow.connection.dialect.server_version_info or ()
        return tuple(part for part in version if isinstance(part, int))

    def is_mariadb(self) -> bool:
        """Return True if the server is MariaDB, also under a URL of MySQL."""
        return self.uow.dialect == "mariadb"

    def existing_tables(self) -> set[str]:
        """Return the names of all tables, those of the application too."""
        return set(inspect(self.uow.connection).get_table_names(self._schema))

    def tables(self, part: SchemaPart) -> set[str]:
        """Return the names of a part's existing tables."""
        return self.existing_tables().intersection(part.tables)

    @property
    def _schema(self) -> str | None:
        """The schema of the tables; None for the session's default."""
        return schema_of(self.uow.connection)

    def columns(self, table: str) -> set[str]:
        """Return the names of an existing table's columns."""
        if self.uow.dialect in MYSQL:
            # SQLAlchemy reads SHOW CREATE TABLE, whose quotes depend on the session. It also has
            # the columns for an account that may neither read nor write them.
            found = self.uow.execute(_COLUMNS, {"schema": self._schema, "table": table})
            if names := set(found.scalars()):
                return names
        columns = inspect(self.uow.connection).get_columns(table, self._schema)
        return {str(column["name"]) for column in columns}

    def is_in_another_history(self, part: SchemaPart) -> bool:
        """Return True if an application's Alembic history is there, and threadlog's own is not."""
        names = inspect(self.uow.connection).get_table_names(self._schema)
        return "alembic_version" in names and part.revision_table not in names

    def tables_referring_to(self, tables: Collection[str]) -> list[str]:
        """Return the names of other tables with a foreign key that may block a deletion."""
        keys = inspect(self.uow.connection).get_multi_foreign_keys(self._schema)
        return sorted(
            name
            for (_, name), found in keys.items()
            if name not in tables
            and any(
                key["referred_table"] in tables
                and key.get("options", {}).get("ondelete") not in {"CASCADE", "SET NULL"}
                for key in found
            )
        )

    def indexes(self, table: str) -> set[str]:
        """Return the names of an existing table's indexes."""
        return {
            str(i["name"]) for i in inspect(self.uow.connection).get_indexes(table, self._schema)
        }

    def session_settings(self) -> SessionSettings:
        """Return the settings that the application chose for the session, on MySQL."""
        driver = self.uow.connection.dialect.driver
        autocommit, charset, sql_mode, limit = self.uow.execute(_SESSION).one()
        return SessionSettings(driver, bool(autocommit), charset, sql_mode, int(limit))

    def encodings(self) -> tuple[str, str]:
        """Return the encodings of the database and of the session, on PostgreSQL."""
        database, session = self.uow.execute(_ENCODINGS).one()
        return database, session

    def commits_each_statement(self) -> bool:
        """Return True if each statement is a separate transaction, on PostgreSQL."""
        began = self.uow.execute(_BEGAN).scalar()
        return bool(self.uow.execute(_BEGAN).scalar() != began)

    def write_nothing(self, part: SchemaPart) -> None:
        """Execute an UPDATE that matches no row."""
        table = part.version_table
        self.uow.execute(update(table).values(version=table.c.version).where(false()))

    def has_version_table(self, part: SchemaPart) -> bool:
        """Return True if the version table exists and has the column ``version``."""
        table = part.version_table.name
        return table in self.tables(part) and "version" in self.columns(table)

    def create_tables(self, part: SchemaPart) -> None:
        """Create the missing tables of a part. Only for embedded databases."""
        part.metadata.create_all(self.uow.connection)

    def max_allowed_packet(self) -> int:
        """Return the largest statement that a MySQL server accepts from this session."""
        return int(self.uow.execute(_MAX_ALLOWED_PACKET).scalar() or 0)

    def send_bytes(self) -> None:
        """Send a binary value, which a broken driver cannot.

        Raises:
            TypeError: the driver's, or whatever else it raises.
        """
        self.uow.execute(select(literal(b"a", LargeBinary())))

    def partitioning(self, table: str) -> Partitioning:
        """Return the partitioning of a table on MySQL."""
        method, count, expression = self.uow.execute(_PARTITIONS, {"table": table}).one()
        return Partitioning(method, count, expression and _QUOTES.sub("", expression))

    def identifier_collations(self, part: SchemaPart) -> dict[tuple[str, str], Collation]:
        """Return the collation of each (table, column) that has an identifier, on MySQL."""
        wanted = {
            (table.name, column.name): collation
            for table in part.metadata.tables.values()
            for column in table.columns
            if (column.primary_key or column.name.endswith("_id"))
            and (collation := self._collation(column))
        }
        rows = self.uow.execute(
            _COLLATIONS,
            {"tables": sorted(part.tables), "columns": sorted({column for _, column in wanted})},
        )
        return {
            (table, column): Collation(found, wanted[table, column])
            for table, column, found in rows
            if (table, column) in wanted
        }

    def _collation(self, column: Column[Any]) -> str | None:
        """Return the collation in a column's type, on MySQL; None if it names none."""
        named = _COLLATE.search(column.type.compile(self.uow.connection.dialect))
        return named[1] if named else None

    def engines(self, part: SchemaPart) -> dict[str, str | None]:
        """Return the storage engine of each table on MySQL."""
        rows = self.uow.execute(_ENGINES, {"tables": sorted(part.tables)})
        return {table: engine for table, engine in rows}  # noqa: C416 - to mypy rows are not pairs

    def statements_on_no_row(self, part: SchemaPart, name: str) -> dict[str, Executable]:
        """Return by right a statement that needs the right on a table, and matches no row."""
        known, existing = part.metadata.tables[name].columns, self.columns(name)
        names = [each.name for each in known if each.name in existing and not each.computed]
        plain = table_clause(
            name, *map(column_clause, names)
        )  # without the conversions of the columns' types
        last = plain.c[names[-1]]
        nothing = select(*plain.c).where(false())
        return {
            "SELECT": nothing,
            "INSERT": insert(plain).from_select(names, nothing),
            "UPDATE": update(plain).values({last: last}).where(false()),
            "DELETE": delete(plain).where(false()),
        }

    def grant_statement(self, table: str, rights: Sequence[str]) -> str:
        """Return the statement that grants rights on a table to the connected account."""
        quote = self.uow.connection.dialect.identifier_preparer.quote_identifier
        account = str(self.uow.execute(select(func.current_user())).scalar())
        if self.uow.dialect in MYSQL:
            user, _, host = account.rpartition("@")
            account = f"'{user}'@'{host}'"
        else:
            account = quote(account)
        return f"GRANT {', '.join(rights)} ON {table} TO {account}"

    def index_statement(self, part: SchemaPart, table: str, name: str) -> str:
        """Return the statement that creates an index, also one that is not in the metadata."""
        if name == WAITING_INDEX:
            return waiting_index(table, self.uow.dialect)
        if name == PARENT_INDEX:
            return parent_index(table)
        indexes = part.metadata.tables[table].indexes
        (index,) = (index for index in indexes if index.name == name)
        return str(CreateIndex(index).compile(dialect=self.uow.connection.dialect))

    def partition_statement(self, table: str) -> str:
        """Return the statement that partitions a table of MySQL by the schema."""
        return f"ALTER TABLE {table} PARTITION BY KEY (thread_id) PARTITIONS {PARTITION_COUNT}"

    def engine_statement(self, table: str) -> str:
        """Return the statement that converts a table of MySQL to InnoDB."""
        return f"ALTER TABLE {table} ENGINE=InnoDB"

    def collation_statement(self, part: SchemaPart, table: str, columns: Sequence[str]) -> str:
        """Return the one statement that converts columns of MySQL to the types of the models.

        One statement for all columns, as the two ends of a foreign key cannot be changed one
        after the other. Empty if a foreign key leads from one table to another, which no single
        statement can change; on MariaDB also if it leads to its own table.
        """
        ends = {
            (end.table.name, end.name)
            for other in part.metadata.tables.values()
            for key in other.foreign_keys
            for end in (key.parent, key.column)
            if key.parent.table is not key.column.table or self.is_mariadb()
        }
        if any((table, column) in ends for column in columns):
            return ""
        dialect = self.uow.connection.dialect
        known = part.metadata.tables[table].columns
        changes = [
            f"MODIFY {CreateColumn(known[column]).compile(dialect=dialect)}" for column in columns
        ]
        return f"ALTER TABLE {table} {', '.join(changes)}"
