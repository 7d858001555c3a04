"""Copies take the ciphertexts along, to the same threads and seqs; exports with keys do not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import threadlog
from tests.encryption.keys import Keys
from tests.encryption.test_storing import assert_filled, assert_hidden, fill
from tests.support.databases import on_connection
from threadlog import Checkpointer
from threadlog.copying.copy import copy_database
from threadlog.errors import EncryptedRowError, KeyForgottenError
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


async def _export(url: str, file: Path, keys: Keys | None, **options: bool) -> list[dict[str, Any]]:
    encryption = None if keys is None else keys.encryption(**options)
    async with Checkpointer(url, encryption=encryption) as checkpointer:
        lines = [line async for line in checkpointer.export(threads=["t"])]
    await asyncio.to_thread(file.write_bytes, b"".join(lines))
    return [json.loads(line) for line in lines]


async def _import(file: Path, url: str) -> None:
    result = await asyncio.to_thread(threadlog, "import", str(file), "--url", url)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("metadata", [False, True])
async def test_an_export_with_the_keys_is_in_plain_text(
    database_url: str, tmp_path: Path, keys: Keys, *, metadata: bool
) -> None:
    target, file = f"sqlite:///{tmp_path}/target.db", tmp_path / "export.jsonl"
    encryption = keys.encryption(metadata=metadata)
    async with Checkpointer(database_url, encryption=encryption) as checkpointer:
        await fill(checkpointer, owner="ann")
    lines = await _export(database_url, file, keys)
    messages = [line for line in lines if line["type"] == "message"]
    assert messages
    assert not any("payload_base64" in message for message in messages)
    await _import(file, target)
    async with Checkpointer(target) as checkpointer:
        await assert_filled(checkpointer)


async def test_an_export_without_the_keys_is_read_with_them(
    database_url: str, tmp_path: Path, keys: Keys
) -> None:
    target, file = f"sqlite:///{tmp_path}/target.db", tmp_path / "export.jsonl"
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer, owner="ann")
    await _export(database_url, file, None)
    await _import(file, target)
    await assert_hidden(target)
    async with Checkpointer(target, encryption=keys.encryption()) as checkpointer:
        await assert_filled(checkpointer)


async def test_an_export_names_the_value_whose_key_is_gone(
    database_url: str, tmp_path: Path, keys: Keys
) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer, owner="ann")
    keys.by_id.clear()
    with pytest.raises(KeyForgottenError) as raised:
        await _export(database_url, tmp_path / "export.jsonl", keys)
    assert raised.value.thread_id == "t"


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
