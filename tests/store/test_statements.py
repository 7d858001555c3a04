"""How many statements a server gets: counted by itself."""

from tests.support.counting import StatementCount
from threadlog.langgraph import Store


async def test_get_put_and_delete_take_one(server_store_url: str, count: StatementCount) -> None:
    """There is no BEGIN and no COMMIT."""
    async with Store(server_store_url) as store:
        await store.aput(("a",), "k", {"x": 1})
        assert await store.aget(("a",), "k") is not None
        assert await count.of(lambda: store.aput(("a",), "new", {"x": 1})) == 1
        assert await count.of(lambda: store.aput(("a",), "k", {"x": 2})) == 1
        assert await count.of(lambda: store.aput(("a",), "k", {"x": 2}, ttl=5)) == 1
        assert await count.of(lambda: store.aget(("a",), "k", refresh_ttl=False)) == 1
        assert await count.of(lambda: store.aget(("a",), "none")) == 1
        assert await count.of(lambda: store.adelete(("a",), "new")) == 1


async def test_searches_take_one_and_refreshing_one_more(
    server_store_url: str, count: StatementCount
) -> None:
    async with Store(server_store_url) as store:
        await store.aput(("a",), "k", {"x": 1}, ttl=5)
        await store.aget(("a",), "k")
        assert await count.of(lambda: store.aget(("a",), "k")) == 2
        search = store.asearch
        filter_ = {"x": {"$gt": 0}}
        await search(("a",), filter=filter_)
        assert await count.of(lambda: search(("a",), refresh_ttl=False)) == 1
        assert await count.of(lambda: search(("a",), filter=filter_, refresh_ttl=False)) == 1
        assert await count.of(lambda: search(("a",))) == 2
        assert await count.of(lambda: store.alist_namespaces(prefix=("a",))) == 1
