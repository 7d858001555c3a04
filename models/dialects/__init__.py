"""The one place in the models that knows how databases differ.

Callers use the names below and never ask which database they run on. A further database
is added by giving each construct its rendering here.
"""

from threadlog.models.dialects.comparison import as_bytes, id_equals
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
from threadlog.models.dialects.hints import force_primary_key, prevent_index_sort
from threadlog.models.dialects.json import (
    ExactJson,
    as_text,
    empty_object,
    exact_json,
    json_items,
    json_member_is,
)
from threadlog.models.dialects.last_insert_id import (
    LAST_INSERT_ID_DIALECTS,
    encode_last_insert_id,
)
from threadlog.models.dialects.last_rows import LastRows
from threadlog.models.dialects.locking import (
    LockingRead,
    bump_row_version,
    lock_thread,
    prelock_statements,
    select_with_row_kept_locked,
    try_advisory_lock,
    with_advisory_lock,
)
from threadlog.models.dialects.names import MYSQL, dialect_name
from threadlog.models.dialects.time import (
    clock_time,
    from_epoch,
    now_and_on_update,
    seconds_ago,
    statement_time,
    to_epoch,
    utc_now,
)
from threadlog.models.dialects.transfer import (
    RawJson,
    RawText,
    RawTime,
    size_of,
    text_for_column,
    transfer_table,
    truncate_to_column,
)
from threadlog.models.dialects.types import (
    ANY_TEXT,
    BytewiseText,
    UtcTime,
    UuidText,
    digest,
    exact_text,
    host_text,
    identifier,
    large_binary,
    long_text,
    short_text,
    timestamp,
    typed_null,
)
from threadlog.models.dialects.upsert import (
    JOINED_BYTES,
    insert_if_absent,
    insert_or_replace,
    insert_or_replace_where,
    many_rows,
)

__all__ = [
    "ANY_TEXT",
    "JOINED_BYTES",
    "LAST_INSERT_ID_DIALECTS",
    "MESSAGES_BY_THREAD",
    "METADATA_INDEX",
    "MYSQL",
    "OF_THREAD",
    "PARTITIONED_BY_THREAD",
    "PARTITION_COUNT",
    "TABLE_OPTIONS",
    "THREADS",
    "BytewiseText",
    "ExactJson",
    "LastRows",
    "LockingRead",
    "RawJson",
    "RawText",
    "RawTime",
    "UtcTime",
    "UuidText",
    "as_bytes",
    "as_text",
    "bump_row_version",
    "clock_time",
    "computed",
    "dialect_name",
    "digest",
    "empty_object",
    "encode_last_insert_id",
    "exact_json",
    "exact_text",
    "force_primary_key",
    "foreign_key",
    "from_epoch",
    "host_text",
    "id_equals",
    "identifier",
    "insert_if_absent",
    "insert_or_replace",
    "insert_or_replace_where",
    "json_items",
    "json_member_is",
    "large_binary",
    "lock_thread",
    "long_text",
    "many_rows",
    "metadata_index",
    "now_and_on_update",
    "partition",
    "prelock_statements",
    "prevent_index_sort",
    "seconds_ago",
    "select_with_row_kept_locked",
    "short_text",
    "size_of",
    "statement_time",
    "text_for_column",
    "timestamp",
    "to_epoch",
    "transfer_table",
    "truncate_to_column",
    "try_advisory_lock",
    "typed_null",
    "utc_now",
    "with_advisory_lock",
]
