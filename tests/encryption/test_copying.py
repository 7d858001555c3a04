"""Copies of a database take the ciphertexts along, to the same threads and seqs."""

from pathlib import Path

from tests.encryption.keys import Keys
from tests.encryption.test_storing import assert_filled, assert_hidden, fill
from threadlog import Checkpointer
from threadlog.copying.copy import copy_database


async def test_a_copy_is_read_with_the_same_keys(
    database_url: str, tmp_path: Path, keys: Keys
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer, owner="ann")
    async with Checkpointer(target):
        pass
    (group,) = await copy_database(database_url, target, part="messages")
    assert group.faults == []
    await assert_hidden(target)
    async with Checkpointer(target, encryption=keys.encryption()) as checkpointer:
        await assert_filled(checkpointer)
