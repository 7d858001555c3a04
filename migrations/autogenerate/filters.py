"""A filter that excludes threadlog's tables from an application's autogenerate."""

from collections.abc import Mapping
from typing import Final

from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.migrations.history.search import FULL_TEXT_TABLES
from threadlog.models import ALL_PARTS

_NAMES: Final = frozenset(
    [name for part in ALL_PARTS for name in (*part.tables, part.revision_table)]
    + [*FULL_TEXT_TABLES]
    + [name for table in MESSAGE_LOG.hash_partitioned for name in hash_partitions.names(table)]
)


def exclude_threadlog_tables(
    name: str | None, type_: str, parent_names: Mapping[str, str | None]
) -> bool:
    """Return False for threadlog's tables, so that autogenerate ignores them.

    For an application whose threadlog tables are managed by ``threadlog migrate`` or another
    tool. Without this filter, autogenerate proposes to drop them. Use it alone::

        context.configure(..., include_name=exclude_threadlog_tables)

    or with the application's own filter::

        def include_name(name, type_, parent_names):
            return exclude_threadlog_tables(name, type_, parent_names) and (
                type_ != "table" or not name.startswith("legacy_")
            )

    Args:
        name: the name of the object in the database; None for the default schema.
        type_: ``table``, ``column``, ``index``, ``schema``, …
        parent_names: the names of the object's parents; ignored.

    Returns:
        False for the tables of all parts, their partitions on PostgreSQL and the revision
        tables, in any schema; True for everything else.
    """
    return type_ != "table" or name not in _NAMES
