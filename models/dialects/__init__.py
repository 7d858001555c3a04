"""The one place in the models that knows how databases differ.

Callers use the names below and never ask which database they run on. A further database
is added by giving each construct its rendering here.
"""

from threadlog.models.dialects.comparison import bytes_of, same_id
from threadlog.models.dialects.ddl import (
    MESSAGES_BY_THREAD,
    METADATA_INDEX,
    OF_THREAD,
    PARTITION_COUNT,
    PARTITIONED_BY_THREAD,
    TABLE_OPTIONS,
    THREADS,
    foreign_key,
    metadata_index,
    partition,
)
from threadlog.models.dialects.ddl_computed import computed
from threadlog.models.dialects.hints import by_primary_key, unindexed
from threadlog.models.dialects.json import (
    ExactJson,
    as_text,
    empty_object,
    exact_json,
    json_items,
    json_member_is,
)
from threadlog.models.dialects.last_insert_id import telling, tells, told
from threadlog.models.dialects.last_rows import LastRows
from threadlog.models.dialects.locking import (
    LockingRead,
    from_kept,
    in_turn,
    is_turn,
    lock_first,
    lock_thread,
    marking,
)
from threadlog.models.dialects.names import MYSQL, dialect_of, met_mariadb
from threadlog.models.dialects.time import (
    clock_time,
    from_epoch,
    now_and_on_update,
    seconds_ago,
    statement_time,
    to_epoch,
    utc_now,
)
from threadlog.models.dialects.transfer import CarriedJson, CarriedTime, as_held, carried, size_of
from threadlog.models.dialects.types import (
    BytewiseText,
    UtcTime,
    UuidText,
    digest,
    exact_text,
    hosts_text,
    identifier,
    long_text,
    moment,
    no_value,
    packed,
    word,
)
from threadlog.models.dialects.upsert import (
    insert_if_absent,
    insert_or_replace,
    insert_or_replace_where,
    many_rows,
)

__all__ = [
    "MESSAGES_BY_THREAD",
    "METADATA_INDEX",
    "MYSQL",
    "OF_THREAD",
    "PARTITIONED_BY_THREAD",
    "PARTITION_COUNT",
    "TABLE_OPTIONS",
    "THREADS",
    "BytewiseText",
    "CarriedJson",
    "CarriedTime",
    "ExactJson",
    "LastRows",
    "LockingRead",
    "UtcTime",
    "UuidText",
    "as_held",
    "as_text",
    "by_primary_key",
    "bytes_of",
    "carried",
    "clock_time",
    "computed",
    "dialect_of",
    "digest",
    "empty_object",
    "exact_json",
    "exact_text",
    "foreign_key",
    "from_epoch",
    "from_kept",
    "hosts_text",
    "identifier",
    "in_turn",
    "insert_if_absent",
    "insert_or_replace",
    "insert_or_replace_where",
    "is_turn",
    "json_items",
    "json_member_is",
    "lock_first",
    "lock_thread",
    "long_text",
    "many_rows",
    "marking",
    "met_mariadb",
    "metadata_index",
    "moment",
    "no_value",
    "now_and_on_update",
    "packed",
    "partition",
    "same_id",
    "seconds_ago",
    "size_of",
    "statement_time",
    "telling",
    "tells",
    "to_epoch",
    "told",
    "unindexed",
    "utc_now",
    "word",
]
