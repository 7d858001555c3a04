"""Copies of a database take the ciphertexts along, to the same threads and seqs."""

from pathlib import Path

import pytest

from tests.encryption.keys import Keys
from tests.encryption.test_storing import assert_filled, assert_hidden, fill
from tests.support.databases import on_connection
from threadlog import Checkpointer
from threadlog.copying.copy import copy_database
from threadlog.errors import EncryptedRowError
from threadlog.models import SEARCH


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


async def test_a_target_with_the_search_index_is_refused(
    sqlite_url: str, tmp_path: Path, keys: Keys
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    async with Checkpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
    async with Checkpointer(target):
        pass
    await on_connection(target, SEARCH.metadata.create_all)
    with pytest.raises(EncryptedRowError):
        await copy_database(sqlite_url, target, part="messages")
    async with Checkpointer(target) as plain:
        assert await plain.load("t") is None
