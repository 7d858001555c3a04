"""Texts of labels, each followed by a full stop: as the namespaces of the memory store are."""

from typing import Any

from sqlalchemy import ColumnElement, func

from threadlog.models.dialects.template import Template
from threadlog.models.dialects.types import as_bytes

# json_quote escapes whatever is special in JSON, and no full stop.
_LABELS = "json_each('[' || replace(json_quote(rtrim({0}, '.')), '.', '\",\"') || ']')"


class nth_label(  # noqa: N801 - reads as a SQL function
    Template,
    mysql="SUBSTRING_INDEX(SUBSTRING_INDEX({0}, '.', {1}), '.', -1)",
    postgresql="(string_to_array({0}, '.'))[{1}]",
    other=f"(SELECT value FROM {_LABELS} WHERE key = {{1}} - 1)",
):
    """The label at a place, from 1 on; no label if there is none."""


class _first_labels(  # noqa: N801 - reads as a SQL function
    Template,
    mysql="CONCAT(SUBSTRING_INDEX(TRIM(TRAILING '.' FROM {0}), '.', {1}), '.')",
    postgresql=(
        "(array_to_string((string_to_array(rtrim({0}, '.'), '.'))[1:{1}], '.') || '.')"
        ' COLLATE "C"'
    ),
    other=f"(SELECT group_concat(value, '.') || '.' FROM {_LABELS} WHERE key < {{1}})",
):
    """The first labels, up to a number, each followed by a full stop."""


def label_count(text: ColumnElement[str]) -> ColumnElement[int]:
    """Return the number of labels."""
    count: ColumnElement[int] = func.length(text) - func.length(func.replace(text, ".", ""))
    return count


def first_labels(text: ColumnElement[str], count: int | None) -> ColumnElement[Any]:
    """Return the bytes of the first labels, of all if `count` is None."""
    return as_bytes(text if count is None else _first_labels(text, count))
