"""The graph's tables in a database of a test's own."""

from sqlalchemy import Connection, text

from threadlog.models import GRAPH, graph_metadata


def create_graph_schema(connection: Connection) -> None:
    """Create the tables of the models, and their version."""
    graph_metadata.create_all(connection)
    connection.exec_driver_sql(f"INSERT INTO {GRAPH.version_table} VALUES ({GRAPH.version})")


def empty_graph_schema(connection: Connection) -> None:
    """Delete all rows but the version's."""
    for table in reversed(graph_metadata.sorted_tables):
        if table is not GRAPH.version_table:
            connection.execute(text(f"DELETE FROM {table}"))
