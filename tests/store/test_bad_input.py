"""Input that is refused, before anything is written."""

import json
import math
from http import HTTPStatus
from typing import Any

import pytest
from langgraph.store.base import (
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from threadlog.databases.base import DatabaseFacts
from threadlog.errors import (
    ConfigurationError,
    InvalidInputError,
    InvalidJsonError,
    TooLargeError,
)
from threadlog.langgraph import Store

pytestmark = pytest.mark.one_database

DEEP = json.loads('{"x":' * 40 + "1" + "}" * 40)
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no tuple": (PutOp("ab", "k", {}), InvalidNamespaceError, "not a tuple"),  # type: ignore[arg-type]  # mistaken
    "empty": (PutOp((), "k", {}), InvalidNamespaceError, "must have a label"),
    "reserved": (PutOp(("langgraph",), "k", {}), InvalidNamespaceError, "must not be langgraph"),
    "full stop": (GetOp(("a.b",), "k"), InvalidNamespaceError, "period"),
    "number": (GetOp((1,), "k"), InvalidNamespaceError, "must be strings"),  # type: ignore[arg-type]  # mistaken
    "surrogate": (SearchOp(("a\ud800",)), InvalidInputError, "surrogate"),
    "key": (GetOp(("a",), None), InvalidInputError, "key must be a string"),  # type: ignore[arg-type]  # mistaken
    "key with NUL": (PutOp(("a",), "a\0", {}), InvalidInputError, "NUL"),
    "no dict": (PutOp(("a",), "k", [1]), InvalidJsonError, "must be a dict"),  # type: ignore[arg-type]  # mistaken
    "NaN": (PutOp(("a",), "k", {"x": math.nan}), InvalidJsonError, "value"),
    "object": (PutOp(("a",), "k", {"x": object()}), InvalidJsonError, "value"),
    "too large an int": (PutOp(("a",), "k", {"x": 2**64}), InvalidJsonError, "value"),
    "NUL": (PutOp(("a",), "k", {"x": "\0"}), InvalidJsonError, "value"),
    "deep": (
        PutOp(("a",), "k", json.loads('{"x":' * 40 + "1" + "}" * 40)),
        InvalidJsonError,
        "deeper",
    ),
    "ttl": (PutOp(("a",), "k", {}, ttl=-1), InvalidInputError, "ttl, in minutes"),
    "endless ttl": (PutOp(("a",), "k", {}, ttl=math.inf), InvalidInputError, "ttl"),
    "limit": (SearchOp(("a",), limit=-1), InvalidInputError, "limit"),
    "enum limit": (SearchOp(("a",), limit=HTTPStatus.OK), InvalidInputError, "limit.*OK"),
    "offset": (ListNamespacesOp(offset=-1), InvalidInputError, "offset"),
    "depth": (ListNamespacesOp(max_depth=0), InvalidInputError, "max_depth"),
    "match": (
        ListNamespacesOp((MatchCondition("infix", ("a",)),)),  # type: ignore[arg-type]  # mistaken
        InvalidInputError,
        "'prefix' or 'suffix'",
    ),
    "operator": (SearchOp(("a",), {"x": {"$in": [1]}}), InvalidInputError, r"\$in.*\$eq"),
    "mixed": (SearchOp(("a",), {"x": {"$gt": 1, "y": 2}}), InvalidInputError, "'y'"),
    "operand": (SearchOp(("a",), {"x": {"$gt": [1]}}), InvalidInputError, "number or text"),
    "filter": (SearchOp(("a",), [1]), InvalidJsonError, "filter"),  # type: ignore[arg-type]  # mistaken
    "query": (SearchOp(("a",), query="what I like"), InvalidInputError, "query needs an index"),
    "operation": ("get", InvalidInputError, "not an operation"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_stored_or_searched_is_refused_as_a_whole(
    store_url: str, name: str
) -> None:
    op, error, text = BAD[name]
    async with Store(store_url) as store:
        with pytest.raises(error, match=text) as raised:
            await store.abatch([PutOp(("a",), "good", {"x": 1}), op])
        assert isinstance(raised.value, ValueError)
        assert await store.asearch(("a",)) == []


async def test_a_value_that_fits_into_no_statement_is_refused(server_store_url: str) -> None:
    async with Store(server_store_url) as store:
        facts = store._opened().operations.facts
        store._opened().operations.facts = DatabaseFacts(100_000)
        with pytest.raises(TooLargeError, match="the value of 'k'"):
            await store.aput(("a",), "k", {"x": "x" * 100_000})
        store._opened().operations.facts = facts
        await store.aput(("a",), "k", {"x": "x" * 100_000})


@pytest.mark.parametrize("fields", ["text", ("text",), ["text", 1], 7])
def test_fields_that_are_no_list_of_paths_are_refused_at_once(fields: Any) -> None:
    index: IndexConfig = {"dims": 2, "embed": lambda texts: [[1.0, 0.0] for _ in texts]}
    Store("sqlite://", index={**index, "fields": ["text"]})
    with pytest.raises(ConfigurationError, match="'fields' of index= must be a list of paths"):
        Store("sqlite://", index={**index, "fields": fields})


def test_one_source_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="exactly one source"):
        Store()
