"""Directives for an application's migrations, such as ``op.create_threadlog_schema(version=5)``.

Importing this module registers them with Alembic 1.14 or later. Applications import
`threadlog.migrations.plugin`, which imports this module. Each directive has the schema version
as an argument: the statements of a version are frozen
(`threadlog.migrations.history.definitions`), so that a migration does the same in every release
of threadlog.

The import also registers `threadlog.migrations.autogenerate.rendering`, which makes the
migrations that autogenerate writes for threadlog's tables run unedited.
"""

from alembic.operations import MigrateOperation, Operations

from threadlog.migrations.alembic import steps
from threadlog.migrations.autogenerate import rendering
from threadlog.migrations.history.control import CONTROL
from threadlog.migrations.history.definitions import Definitions
from threadlog.migrations.history.graph_state import GRAPH_STATE
from threadlog.migrations.history.memory_store import MEMORY_STORE
from threadlog.migrations.history.search import SEARCH
from threadlog.migrations.history.server_metadata import SERVER_METADATA

rendering.register()


@Operations.register_operation("create_threadlog_schema")
@Operations.register_operation("upgrade_threadlog_schema")
@Operations.register_operation("downgrade_threadlog_schema")
@Operations.register_operation("drop_threadlog_schema")
@Operations.register_operation("write_threadlog_version")
class SchemaDirectives(MigrateOperation):
    """The ``op.`` directives of the message log.

    Each runs Alembic's own operations. Therefore Alembic never invokes an instance of this
    class, and autogenerate never renders one.
    """

    @classmethod
    def create_threadlog_schema(cls, operations: Operations, version: int) -> None:
        """Create the message log's tables of a schema version, and write the version.

        Safe to run again after a failure: missing tables and indexes are created. Tables of
        this version that another tool created are adopted as they are and get missing indexes.

        Args:
            operations: passed by Alembic.
            version: 5 for this release; earlier versions are the agent framework's.

        Raises:
            ConfigurationError: the version is unknown.
            CubepiSchemaMismatch: the database has tables of another version, or without a
                version; nothing was changed.
        """
        steps.create_schema(operations, version)

    @classmethod
    def upgrade_threadlog_schema(
        cls, operations: Operations, from_version: int, to_version: int
    ) -> None:
        """Upgrade the tables from one schema version to a later one; no data is lost.

        Safe to run again after a failure. Existing columns keep their collation, which is the
        database's default if the framework's migrations created them: ``threadlog check``
        prints the statements that correct it.

        Args:
            operations: passed by Alembic.
            from_version: the version that the database has, 1 or later.
            to_version: the version to upgrade to.

        Raises:
            ConfigurationError: a version is unknown, or they are in the wrong order.
            CubepiSchemaMismatch: the database has neither version; nothing was changed.
        """
        steps.upgrade_schema(operations, from_version, to_version)

    @classmethod
    def downgrade_threadlog_schema(
        cls, operations: Operations, from_version: int, to_version: int
    ) -> None:
        """Revert `upgrade_threadlog_schema`; data of the newer tables and columns is lost.

        Safe to run again after a failure.

        Args:
            operations: passed by Alembic.
            from_version: the version that the database has.
            to_version: the version to downgrade to, 1 or later.

        Raises:
            ConfigurationError: a version is unknown, or they are in the wrong order.
            CubepiSchemaMismatch: the database has neither version; nothing was changed.
        """
        steps.downgrade_schema(operations, from_version, to_version)

    @classmethod
    def drop_threadlog_schema(cls, operations: Operations, version: int) -> None:
        """Drop the tables of a schema version and all conversations in them.

        After ``op.drop_threadlog_control_schema`` and ``op.drop_threadlog_search_schema``, if the
        database has these parts.
        Safe to run again after a failure, and on a database that has none of the tables.

        Args:
            operations: passed by Alembic.
            version: the version whose tables are dropped.

        Raises:
            ConfigurationError: the version is unknown.
            CubepiSchemaError: the database has tables of those parts; nothing was changed.
        """
        steps.drop_schema(operations, version)

    @classmethod
    def write_threadlog_version(cls, operations: Operations, version: int) -> None:
        """Write a schema version to the version table, replacing any other.

        For a migration that autogenerate wrote from ``cubepi_metadata``, which creates tables
        but no rows. The other directives write the version by themselves.

        Args:
            operations: passed by Alembic.
            version: the version that the tables have.

        Raises:
            ConfigurationError: the version is unknown.
        """
        steps.write_version(operations, version)


def _register_part(name: str, definitions: Definitions) -> None:
    """Register the directives of one of threadlog's own parts.

    They are called ``op.create_threadlog_graph_schema``, ``op.drop_threadlog_graph_schema``,
    ``op.write_threadlog_graph_version`` and so on. The class is made here, as Alembic writes to
    the docstrings of a class that it registers.
    """

    class PartDirectives(MigrateOperation):
        @classmethod
        def create_schema(cls, operations: Operations, version: int) -> None:
            """Create a part's tables of a schema version, and write the version.

            Safe to run again after a failure: missing tables and indexes are created, as by
            ``op.create_threadlog_schema``. Thread control and the search index refer to the
            message log and are created after it. Tables of the server metadata that an earlier
            threadlog created with the graph state are adopted with their rows.

            Args:
                operations: passed by Alembic.
                version: 1 for this release.

            Raises:
                ConfigurationError: the version is unknown.
                CubepiSchemaMismatch: the database has tables of another version, or without a
                    version; nothing was changed.
                CubepiSchemaUninitialized: the database lacks the message log that the part refers
                    to; nothing was changed.
            """
            steps.create_schema(operations, version, definitions)

        @classmethod
        def drop_schema(cls, operations: Operations, version: int) -> None:
            """Drop a part's tables of a schema version and all rows in them.

            Safe to run again after a failure, and on a database that has none of the tables.

            Args:
                operations: passed by Alembic.
                version: the version whose tables are dropped.

            Raises:
                ConfigurationError: the version is unknown.
            """
            steps.drop_schema(operations, version, definitions)

        @classmethod
        def write_version(cls, operations: Operations, version: int) -> None:
            """Write a schema version to a part's version table, replacing any other.

            For a migration that autogenerate wrote from the part's metadata, which creates tables
            but no rows.

            Args:
                operations: passed by Alembic.
                version: the version that the tables have.

            Raises:
                ConfigurationError: the version is unknown.
            """
            steps.write_version(operations, version, definitions)

    register = Operations.register_operation
    register(f"create_threadlog_{name}_schema", "create_schema")(PartDirectives)
    register(f"drop_threadlog_{name}_schema", "drop_schema")(PartDirectives)
    register(f"write_threadlog_{name}_version", "write_version")(PartDirectives)


_register_part("graph", GRAPH_STATE)
_register_part("store", MEMORY_STORE)
_register_part("control", CONTROL)
_register_part("metadata", SERVER_METADATA)
_register_part("search", SEARCH)
