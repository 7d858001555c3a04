"""Encrypted threads: the framework's checkpointers of ours read them, its own backend fails."""

from typing import Any

import pytest

from tests.frameworks.backends import BACKENDS
from tests.frameworks.framework import Framework
from tests.frameworks.messages import conversation, request
from threadlog.encryption import Encryption

pytestmark = [
    # The framework's statements for MySQL use both; its driver passes the server's warnings on.
    pytest.mark.filterwarnings("ignore:'VALUES function' is deprecated:Warning"),
    pytest.mark.filterwarnings("ignore:'BINARY expr' is deprecated:Warning"),
]


async def test_the_own_backend_fails_and_reads_nothing_wrong(
    framework: Framework, backend: str, backend_url: str
) -> None:
    name = BACKENDS[backend].checkpointer
    encryption = Encryption(key_id=lambda owner: "k", key=lambda key_id: bytes(32))
    messages: list[Any] = conversation(framework)
    asked = request(framework)
    ours = getattr(framework.client, name)(backend_url, encryption=encryption)
    theirs = getattr(framework.module("checkpointer"), name)(backend_url)
    async with ours, theirs:
        await ours.append("t", messages)
        await ours.save_pending_request("t", asked, run_id="r")
        assert (await ours.load("t")).messages == messages
        assert await ours.load_pending_request("t") == asked
        corrupt = framework.module("checkpointer.exceptions").CheckpointCorruptionError
        with pytest.raises(corrupt):
            await theirs.load("t")
        with pytest.raises(ValueError, match="payload"):
            await theirs.load_pending_request("t")
        plain = getattr(framework.client, name)(backend_url)
        base = framework.module("checkpointer.exceptions").CheckpointerError
        async with plain:
            with pytest.raises(base, match="is encrypted"):
                await plain.load("t")
