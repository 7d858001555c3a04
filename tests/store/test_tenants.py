"""Tenants whose names resemble each other."""

import pytest
from langgraph.store.base import InvalidNamespaceError

from tests.store.ways import Way

TENANTS = ("acme", "acme-corp", "ACME", "acme ", "acme%", "ac_e", "acme\x01", "acme/", "äcme")


async def test_no_tenant_finds_items_of_another(way: Way) -> None:
    for tenant in TENANTS:
        await way.call("put", (tenant, "memories"), "k", {"of": tenant, "n": 1})
    for tenant in TENANTS:
        for labels in ((tenant,), (tenant, "memories")):
            for filter_ in (None, {"n": 1}, {"n": {"$gte": 0}}):
                found = await way.call("search", labels, filter=filter_)
                assert [item.value["of"] for item in found] == [tenant]
        assert await way.call("list_namespaces", prefix=(tenant,)) == [(tenant, "memories")]
        await way.call("delete", (tenant, "memories"), "none")
    assert len(await way.keys(limit=100)) == len(TENANTS)


async def test_a_tenant_with_a_full_stop_is_refused(way: Way) -> None:
    await way.call("put", ("acme", "memories"), "k", {"of": "acme"})
    for name, arguments in (
        ("put", (("acme.",), "k", {})),
        ("get", (("acme.memories",), "k")),
        ("delete", (("acme.memories",), "k")),
        ("search", (("acme.",),)),
        ("search", (("acme", "memories."),)),
    ):
        with pytest.raises(InvalidNamespaceError, match="period"):
            await way.call(name, *arguments)
    for pattern in ({"prefix": ("acme.",)}, {"suffix": ("acme.memories",)}):
        with pytest.raises(InvalidNamespaceError, match="period"):
            await way.call("list_namespaces", **pattern)
    assert await way.keys("acme") == ["k"]
