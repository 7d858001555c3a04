"""The one place in the models that knows how databases differ.

Callers use the names below and never ask which database they run on. A further database
is added by giving each construct its rendering here.
"""

from threadlog.models.dialects.carried import CarriedJson, CarriedTime, as_held, carried, size_of
from threadlog.models.dialects.columns import (
    PARTITION_COUNT,
    PARTITIONED_BY_THREAD,
    TABLE_OPTIONS,
    UtcTime,
    UuidText,
    digest,
    exact_text,
    identifier,
    long_text,
    packed,
)
from threadlog.models.dialects.comparison import bytes_of, same_id
from threadlog.models.dialects.inserts import (
    insert_if_absent,
    insert_or_replace,
    insert_or_replace_where,
    many_rows,
)
from threadlog.models.dialects.json import exact_json, json_items, json_member_is
from threadlog.models.dialects.times import (
    clock_time,
    from_epoch,
    now_and_on_update,
    seconds_ago,
    to_epoch,
    utc_now,
)

__all__ = [
    "PARTITIONED_BY_THREAD",
    "PARTITION_COUNT",
    "TABLE_OPTIONS",
    "CarriedJson",
    "CarriedTime",
    "UtcTime",
    "UuidText",
    "as_held",
    "bytes_of",
    "carried",
    "clock_time",
    "digest",
    "exact_json",
    "exact_text",
    "from_epoch",
    "identifier",
    "insert_if_absent",
    "insert_or_replace",
    "insert_or_replace_where",
    "json_items",
    "json_member_is",
    "long_text",
    "many_rows",
    "now_and_on_update",
    "packed",
    "same_id",
    "seconds_ago",
    "size_of",
    "to_epoch",
    "utc_now",
]
