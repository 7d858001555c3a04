"""A filter for hosts whose autogenerate is to leave threadlog's tables alone."""

from collections.abc import Mapping
from typing import Final

from threadlog.migrations.history import hash_partitions
from threadlog.migrations.history.message_log import MESSAGE_LOG
from threadlog.models import PARTS

_NAMES: Final = frozenset(
    [name for part in PARTS for name in (*part.tables, part.revision_table)]
    + [name for table in MESSAGE_LOG.hash_partitioned for name in hash_partitions.names(table)]
)


def exclude_threadlog_tables(
    name: str | None, type_: str, parent_names: Mapping[str, str | None]
) -> bool:
    """Say whether autogenerate may look at something that it found in the database.

    For a host on whose database ``threadlog migrate`` or somebody else looks after the
    tables: without it autogenerate proposes to drop them. Alone::

        context.configure(..., include_name=exclude_threadlog_tables)

    or with a filter of the host's own::

        def include_name(name, type_, parent_names):
            return exclude_threadlog_tables(name, type_, parent_names) and (
                type_ != "table" or not name.startswith("legacy_")
            )

    Args:
        name: what it is called; None for the default schema.
        type_: ``table``, ``column``, ``index``, ``schema``, …
        parent_names: where it is; not looked at.

    Returns:
        False for threadlog's tables of both parts, their partitions on PostgreSQL and its
        bookkeeping included, in whichever schema; True for all else.
    """
    return type_ != "table" or name not in _NAMES
