"""Searches for the nearest items: `query=` with an index."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any, Final

import pytest
from langgraph.store.base import IndexConfig, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore
from sqlalchemy.ext.asyncio import AsyncSession

from tests.store.ways import WAYS, Way
from tests.support.patience import until
from tests.support.seeds import FRESH
from tests.support.ways import open_engine
from threadlog.errors import ConfigurationError, InvalidInputError
from threadlog.langgraph import Store
from threadlog.models import STORE

WORDS: Final = ("tea", "coffee", "dog", "cat", "rain", "sun")


def embedded(text: str) -> list[float]:
    """Count the words of a text; two texts are near if they share words."""
    return [float(text.count(word)) for word in WORDS]


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Embed texts."""
    return [embedded(text) for text in texts]


INDEX: Final[IndexConfig] = {"dims": len(WORDS), "embed": embed, "fields": ["text"]}


def index_with(function: Any) -> IndexConfig:
    """Return the index with another embedding function."""
    return {"dims": len(WORDS), "embed": function, "fields": ["text"]}


@pytest.fixture
async def indexed(way_name: str, store_url: str) -> AsyncIterator[Way]:
    """Open a store with an index of each way, on each database."""
    async with WAYS[way_name](store_url, index=INDEX) as opened:
        yield opened


def texts_of(found: Any) -> list[str]:
    """Return the texts of the items that were found."""
    return [item.value["text"] for item in found]


async def test_the_nearest_items_come_first_with_their_cosines(indexed: Way) -> None:
    for key, words in enumerate(("tea tea dog", "dog", "tea", "rain")):
        await indexed.call("put", ("a", "b"), f"{key}", {"text": words})
    await indexed.call("put", ("ab",), "other", {"text": "tea"})
    found = await indexed.call("search", ("a",), query="tea", limit=3)
    assert texts_of(found) == ["tea", "tea tea dog", "dog"] or texts_of(found)[2] == "rain"
    assert [item.score for item in found] == pytest.approx([1, 2 / math.sqrt(5), 0], abs=1e-6)
    assert all(item.score is None for item in await indexed.call("search", ("a",)))
    (second,) = await indexed.call("search", ("a",), query="tea", limit=1, offset=1)
    assert second.value["text"] == "tea tea dog"


async def test_filters_and_namespaces_limit_what_is_compared(indexed: Way) -> None:
    for tenant in ("acme", "acme-corp", "ACME"):
        for number in range(4):
            value = {"text": f"{tenant} tea", "n": number}
            await indexed.call("put", (tenant, "memories"), f"{number}", value)
    found = await indexed.call("search", ("acme",), query="tea", filter={"n": {"$gte": 2}})
    assert sorted((item.namespace[0], item.value["n"]) for item in found) == [
        ("acme", 2),
        ("acme", 3),
    ]
    found = await indexed.call("search", ("acme",), query="tea", filter={"n": 1})
    assert [item.value["n"] for item in found] == [1]


async def test_only_indexed_fields_of_the_newest_value_are_compared(indexed: Way) -> None:
    await indexed.call("put", ("a",), "none", {"other": "tea"})
    await indexed.call("put", ("a",), "off", {"text": "tea"}, index=False)
    await indexed.call(
        "put", ("a",), "own", {"text": "rain", "more": ["dog", "tea"]}, index=["more[*]"]
    )
    await indexed.call("put", ("a",), "changed", {"text": "tea"})
    await indexed.call("put", ("a",), "changed", {"text": "rain"})
    found = await indexed.call("search", ("a",), query="tea")
    assert [(item.key, round(item.score, 6)) for item in found] == [("own", 1), ("changed", 0)]
    assert len(await indexed.call("search", ("a",))) == 4
    await indexed.call("delete", ("a",), "own")
    assert [item.key for item in await indexed.call("search", ("a",), query="tea")] == ["changed"]


async def test_random_items_are_found_as_by_langgraphs_own_store(indexed: Way) -> None:
    random, theirs = Random(FRESH), InMemoryStore(index=INDEX)
    ops = [
        PutOp(("a", f"{n % 3}"), f"{n}", {"text": " ".join(random.choices(WORDS, k=4)), "n": n})
        for n in range(60)
    ]
    await indexed.call("batch", ops)
    for op in ops:  # it cannot embed one text twice in a batch
        theirs.batch([op])
    for _ in range(10):
        query = " ".join(random.choices(WORDS, k=3))
        wanted = theirs.search(("a",), query=query, limit=60)
        found = await indexed.call("search", ("a",), query=query, limit=60)
        assert [item.score for item in found] == pytest.approx(
            [item.score for item in wanted], abs=1e-6
        )
        scores = {item.key: item.score for item in wanted}
        assert {item.key: item.score for item in found} == pytest.approx(scores, abs=1e-6)


@pytest.mark.one_database
async def test_expired_items_are_not_found(store_url: str) -> None:
    async with Store(store_url, index=INDEX) as store:
        await store.setup()
        await store.aput(("a",), "gone", {"text": "tea"}, ttl=0.001)
        await store.aput(("a",), "kept", {"text": "tea"}, ttl=90)

        async def found() -> list[str]:
            return [
                item.key for item in await store.asearch(("a",), query="tea", refresh_ttl=False)
            ]

        await until(lambda: _is(found, ["kept"]))


async def _is(found: Callable[[], Any], wanted: list[str]) -> bool:
    return bool(await found() == wanted)


@pytest.mark.one_database
async def test_a_batch_embeds_its_texts_in_one_call(store_url: str) -> None:
    calls: list[list[str]] = []

    async def aembed(texts: list[str]) -> list[list[float]]:
        calls.append(texts)
        return embed(texts)

    async with Store(store_url, index=index_with(aembed)) as store:
        await store.setup()
        await store.abatch(
            [
                PutOp(("a",), "1", {"text": "tea"}),
                PutOp(("a",), "2", {"text": "dog"}),
                PutOp(("a",), "2", {"text": "cat"}),
                PutOp(("a",), "3", {"none": 1}),
                PutOp(("a",), "4", {"text": "sun"}, index=False),
                PutOp(("a",), "5", None),
                SearchOp(("a",), query="cat"),
            ]
        )
        assert calls == [["tea", "cat"], ["cat"]]
        calls.clear()
        await store.aput(("a",), "3", {"none": 2})
        await store.aget(("a",), "3")
        await store.asearch(("a",))
        assert calls == []
        with pytest.raises(ValueError, match="async function"):
            await asyncio.to_thread(store.put, ("a",), "6", {"text": "tea"})


@pytest.mark.parametrize(
    "vectors",
    [
        lambda texts: [[1.0, 2.0] for _ in texts],
        lambda texts: [[math.nan] * len(WORDS) for _ in texts],
        lambda texts: [["tea"] * len(WORDS) for _ in texts],
        lambda texts: [None for _ in texts],
        lambda texts: [],
    ],
)
@pytest.mark.one_database
async def test_vectors_of_the_wrong_form_are_refused(
    store_url: str, vectors: Callable[[list[str]], Any]
) -> None:
    async with Store(store_url, index=index_with(vectors)) as store:
        await store.setup()
        with pytest.raises(InvalidInputError, match="embedding function"):
            await store.aput(("a",), "k", {"text": "tea"})
        assert await store.aget(("a",), "k") is None


@pytest.mark.one_database
async def test_nothing_is_written_if_the_embedding_fails(store_url: str) -> None:
    def fail(texts: list[str]) -> list[list[float]]:
        raise RuntimeError("the model is away")

    async with Store(store_url, index=index_with(fail)) as store:
        await store.setup()
        with pytest.raises(RuntimeError, match="away"):
            await store.abatch([PutOp(("a",), "1", {"n": 1}), PutOp(("a",), "2", {"text": "tea"})])
        assert await store.asearch(("a",)) == []


@pytest.mark.one_database
async def test_vectors_of_another_model_are_left_out(store_url: str) -> None:
    """Two of three numbers are as long as three of two."""

    def short(texts: Sequence[str]) -> list[list[float]]:
        return [embedded(text)[:3] for text in texts]

    async with Store(store_url, index=INDEX) as store:
        await store.setup()
        await store.aput(("a",), "old", {"text": "tea"})
    async with Store(store_url, index={**index_with(short), "dims": 3}) as store:
        await store.aput(("a",), "new", {"text": "tea dog"})
        assert [
            item.key for item in await store.asearch(("a",), query="tea", refresh_ttl=False)
        ] == ["new"]
    async with Store(store_url) as store:  # without an index: the vector would be stale
        await store.aput(("a",), "old", {"text": "rain"})
        with pytest.raises(InvalidInputError, match="query needs an index"):
            await store.asearch(("a",), query="tea")
    async with Store(store_url, index=INDEX) as store:
        assert await store.asearch(("a",), query="tea") == []


@pytest.mark.one_database
async def test_a_bound_store_embeds_too(store_url: str) -> None:
    async with open_engine(store_url, STORE) as engine, Store(engine=engine, index=INDEX) as store:
        await store.setup()
        async with AsyncSession(engine) as session:
            await store.bind(session).aput(("a",), "k", {"text": "tea"})
            assert len(await store.bind(session).asearch(("a",), query="tea")) == 1
            await session.rollback()
        assert await store.asearch(("a",), query="tea") == []


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"embed": embed}, "no 'dims'"),
        ({"dims": 3}, "no 'embed'"),
        ({"dims": -1, "embed": embed}, "dims"),
        ({"dims": 3, "embed": "nobody:nothing"}, "cannot be used"),
    ],
)
def test_an_index_that_cannot_be_used_is_refused(index: Any, words: str) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=words):
        Store("sqlite:///x.db", index=index)


@pytest.mark.one_database
async def test_paths_that_are_no_list_are_refused(store_url: str) -> None:
    async with Store(store_url, index=INDEX) as store:
        await store.setup()
        wrong: Any = {"text": 1}
        with pytest.raises(InvalidInputError, match="list of paths"):
            await store.aput(("a",), "k", {"text": "tea"}, index=wrong)
        with pytest.raises(InvalidInputError, match="query must be a string"):
            await store.abatch([SearchOp(("a",), query=5)])  # type: ignore[arg-type]  # on purpose
