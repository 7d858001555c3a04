"""Python's garbage collector, paused while messages are decoded."""

import gc
from collections.abc import Iterator

import pytest

from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.errors import CheckpointCorruptionError
from threadlog.log.message_codec import gc_paused


@pytest.fixture(params=[True, False], ids=["on", "off"])
def on(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Switch the collector on or off, as an application may have it."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_the_collector_is_as_before_afterwards(on: bool) -> None:  # noqa: FBT001 - a fixture
    """The collector is off in the block and restored afterwards, even after errors."""
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled() is on
    with pytest.raises(LookupError), gc_paused():
        raise LookupError
    assert gc.isenabled() is on


async def test_loading_collects_nothing_meanwhile(sqlite_url: str) -> None:
    """Decoding a long thread is not slowed by collections, nor by what it raises."""
    async with Checkpointer(sqlite_url) as checkpointer:
        await checkpointer.append("t", UserFactory.build_batch(3_000))
        codec = checkpointer.vocabulary.messages
        rows = [(seq, "user", "{}", b"\x80") for seq in range(2)]
        collections: list[str] = []
        gc.callbacks.append(lambda phase, info: collections.append(phase))
        try:
            with pytest.raises(CheckpointCorruptionError):
                codec.decode_all("t", rows)
            stored = await checkpointer.read("t")
            encoded = codec.encode([s.message for s in stored])
            again = [(s.seq, e.role, "{}", e.payload) for s, e in zip(stored, encoded, strict=True)]
            before = len(collections)
            decoded = codec.decode_all("t", again)
            # One that was due, when it is on again, which begins and ends.
            assert len(collections) <= before + 2
        finally:
            gc.callbacks.pop()
        assert len(decoded) == 3_000
        assert gc.isenabled()
