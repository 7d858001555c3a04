"""The directives of threadlog in hosts' migrations: ``op.create_threadlog_schema(version=5)``.

Importing this module registers them with Alembic 1.14 or later; hosts import
`threadlog.migrations.plugin`, which does. Each takes the schema version as an argument,
because a migration is history: what it does is frozen with the version
(`threadlog.migrations.history.definitions`) and never follows the release that runs it.

It also makes what autogenerate writes of threadlog's tables run as it is, see
`threadlog.migrations.autogenerate.rendering`.
"""

from alembic.operations import MigrateOperation, Operations

from threadlog.migrations.alembic import steps
from threadlog.migrations.autogenerate import rendering
from threadlog.migrations.history.graph_state import GRAPH_STATE

rendering.register()


@Operations.register_operation("create_threadlog_schema")
@Operations.register_operation("upgrade_threadlog_schema")
@Operations.register_operation("downgrade_threadlog_schema")
@Operations.register_operation("drop_threadlog_schema")
@Operations.register_operation("write_threadlog_version")
class SchemaDirectives(MigrateOperation):
    """What Alembic makes methods of ``op`` from, for the message log.

    Each runs Alembic's own operations, so that there is nothing to be invoked, or to be
    rendered by autogenerate, by the names of these.
    """

    @classmethod
    def create_threadlog_schema(cls, operations: Operations, version: int) -> None:
        """Create the tables of messages as they are at a schema version, and write the version.

        May be run again after a failure, and completes what is there. Tables of that version
        are adopted as they are, and given the indexes that they lack.

        Args:
            operations: given by Alembic.
            version: 5 for this release; earlier ones are the agent framework's.

        Raises:
            ConfigurationError: the version is unknown.
            CubepiSchemaMismatch: the database holds tables of another version, or without
                one; nothing was changed.
        """
        steps.create_schema(operations, version)

    @classmethod
    def upgrade_threadlog_schema(
        cls, operations: Operations, from_version: int, to_version: int
    ) -> None:
        """Upgrade the tables from one schema version to a later one; all data stays.

        May be run again after a failure. Columns that are there keep their collation, which
        is the database's default where the framework's migrations made them: ``threadlog
        check`` shows what mends them.

        Args:
            operations: given by Alembic.
            from_version: the version that the database has, 1 or later.
            to_version: the version that it is to have.

        Raises:
            ConfigurationError: a version is unknown, or they are in the wrong order.
            CubepiSchemaMismatch: the database has neither version; nothing was changed.
        """
        steps.upgrade_schema(operations, from_version, to_version)

    @classmethod
    def downgrade_threadlog_schema(
        cls, operations: Operations, from_version: int, to_version: int
    ) -> None:
        """Undo `upgrade_threadlog_schema`; what the earlier version has no place for is lost.

        May be run again after a failure.

        Args:
            operations: given by Alembic.
            from_version: the version that the database has.
            to_version: the version that it is to have, 1 or later.

        Raises:
            ConfigurationError: a version is unknown, or they are in the wrong order.
            CubepiSchemaMismatch: the database has neither version; nothing was changed.
        """
        steps.downgrade_schema(operations, from_version, to_version)

    @classmethod
    def drop_threadlog_schema(cls, operations: Operations, version: int) -> None:
        """Drop the tables of a schema version, with all conversations in them.

        May be run again after a failure, and on a database that has none of them.

        Args:
            operations: given by Alembic.
            version: the version whose tables are dropped.

        Raises:
            ConfigurationError: the version is unknown.
        """
        steps.drop_schema(operations, version)

    @classmethod
    def write_threadlog_version(cls, operations: Operations, version: int) -> None:
        """Make the version table say a schema version.

        For a migration that autogenerate wrote from ``cubepi_metadata``: it makes tables, and
        puts nothing into them. The other directives write the version by themselves.

        Args:
            operations: given by Alembic.
            version: the version that the tables have.

        Raises:
            ConfigurationError: the version is unknown.
        """
        steps.write_version(operations, version)


@Operations.register_operation("create_threadlog_graph_schema")
@Operations.register_operation("drop_threadlog_graph_schema")
@Operations.register_operation("write_threadlog_graph_version")
class GraphDirectives(MigrateOperation):
    """The same for the graph state: checkpoints, and the threads and runs of a server."""

    @classmethod
    def create_threadlog_graph_schema(cls, operations: Operations, version: int) -> None:
        """Create the graph state's tables as they are at a version of it, and write the version.

        May be run again after a failure, and completes what is there, as
        `SchemaDirectives.create_threadlog_schema` does.

        Args:
            operations: given by Alembic.
            version: 1 for this release.

        Raises:
            ConfigurationError: the version is unknown.
            CubepiSchemaMismatch: the database holds tables of another version, or without
                one; nothing was changed.
        """
        steps.create_schema(operations, version, GRAPH_STATE)

    @classmethod
    def drop_threadlog_graph_schema(cls, operations: Operations, version: int) -> None:
        """Drop the graph state's tables of a version, with all checkpoints in them.

        May be run again after a failure, and on a database that has none of them.

        Args:
            operations: given by Alembic.
            version: the version whose tables are dropped.

        Raises:
            ConfigurationError: the version is unknown.
        """
        steps.drop_schema(operations, version, GRAPH_STATE)

    @classmethod
    def write_threadlog_graph_version(cls, operations: Operations, version: int) -> None:
        """Make the graph state's version table say a version.

        For a migration that autogenerate wrote from ``graph_metadata``: it makes tables, and
        puts nothing into them.

        Args:
            operations: given by Alembic.
            version: the version that the tables have.

        Raises:
            ConfigurationError: the version is unknown.
        """
        steps.write_version(operations, version, GRAPH_STATE)
