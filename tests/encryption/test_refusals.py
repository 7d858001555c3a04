"""Rows that cannot be decrypted are refused by name, and never read as something else."""

import json
import pickle
import sys
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from sqlalchemy import Table

from tests.cli.helpers import threadlog
from tests.encryption.keys import Keys, change, stored
from tests.encryption.test_storing import MARKER, assert_filled, fill, said
from threadlog import Checkpointer, SyncCheckpointer
from threadlog.encryption import Encryption, Place, to_json
from threadlog.errors import (
    CheckpointCorruptionError,
    ConfigurationError,
    DecryptionError,
    EncryptedRowError,
    EncryptionError,
    InvalidInputError,
    KeyForgottenError,
    MissingExtraError,
    PlainRowError,
    TruncatedRowError,
)
from threadlog.models import tables

READS: dict[str, Callable[[Any], Any]] = {
    "payload": lambda c: c.read("t"),
    "extra": lambda c: c.save_extra("t", {"new": 1}),
    "pending_request": lambda c: c.load_pending("t"),
    "answer": lambda c: c.load_hitl_answer("t", "q"),
}
COLUMNS: dict[str, tuple[Table, dict[str, Any]]] = {
    "payload": (tables.MESSAGES, {"thread_id": "t", "seq": 1}),
    "extra": (tables.THREADS, {"thread_id": "t"}),
    "pending_request": (tables.THREADS, {"thread_id": "t"}),
    "answer": (tables.ANSWERS, {"thread_id": "t", "question_id": "q", "run_id": ""}),
}


@pytest.fixture
async def filled_url(database_url: str, keys: Keys) -> str:
    """Return the URL of a database with two threads that hold one of everything."""
    await fill_two(database_url, keys)
    return database_url


@pytest.fixture
async def filled_file(sqlite_url: str, keys: Keys) -> str:
    """Return the same on SQLite, for what no other database could do differently."""
    await fill_two(sqlite_url, keys)
    return sqlite_url


async def fill_two(url: str, keys: Keys) -> None:
    """Store one of everything in two threads."""
    async with Checkpointer(url, encryption=keys.encryption()) as checkpointer:
        await fill(checkpointer)
        await fill(checkpointer, "other")


async def refused(
    url: str, encryption: Encryption | None, value: str, kind: type[EncryptionError]
) -> EncryptionError:
    """Read a value, which must be refused; return the error."""
    async with Checkpointer(url, encryption=encryption) as checkpointer:
        with pytest.raises(EncryptionError) as caught:
            await READS[value](checkpointer)
    error = caught.value
    assert type(error) is kind
    assert (error.value, error.thread_id) == (value, "t")
    assert error.seq == (1 if value == "payload" else None)
    assert MARKER not in str(error)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), vars(again)) == (str(error), vars(error))
    return error


async def the_value(url: str, value: str, thread_id: str = "t") -> Any:
    """Return what is stored of a value."""
    table, key = COLUMNS[value]
    (found,) = await stored(url, table, value, **{**key, "thread_id": thread_id})
    return found


async def replace(url: str, value: str, new: Any) -> None:
    """Replace what is stored of a value."""
    table, key = COLUMNS[value]
    await change(url, table, {value: new}, **key)


@pytest.mark.parametrize("value", READS)
async def test_a_wrong_key_is_refused(filled_url: str, keys: Keys, value: str) -> None:
    keys.by_id["nobody-1"] = bytes(32)
    error = await refused(filled_url, keys.encryption(), value, DecryptionError)
    assert error.key_id == "nobody-1"


@pytest.mark.parametrize("value", READS)
async def test_a_value_of_another_thread_is_refused(
    filled_url: str, keys: Keys, value: str
) -> None:
    await replace(filled_url, value, await the_value(filled_url, value, "other"))
    await refused(filled_url, keys.encryption(), value, DecryptionError)


async def test_two_exchanged_messages_are_refused(filled_url: str, keys: Keys) -> None:
    first, second = await stored(filled_url, tables.MESSAGES, "payload", thread_id="t")
    await change(filled_url, tables.MESSAGES, {"payload": second}, thread_id="t", seq=1)
    await change(filled_url, tables.MESSAGES, {"payload": first}, thread_id="t", seq=2)
    await refused(filled_url, keys.encryption(), "payload", DecryptionError)


async def test_an_answer_to_another_question_is_refused(filled_file: str, keys: Keys) -> None:
    of_run = await stored(filled_file, tables.ANSWERS, "answer", thread_id="t", run_id="r")
    await replace(filled_file, "answer", of_run[0])
    await refused(filled_file, keys.encryption(), "answer", DecryptionError)


async def test_another_question_id_is_refused(filled_file: str, keys: Keys) -> None:
    question = await the_value(filled_file, "pending_request")
    await replace(filled_file, "pending_request", {**question, "question_id": "other"})
    await refused(filled_file, keys.encryption(), "pending_request", DecryptionError)


@pytest.mark.parametrize("place", [1, 2, 5, 20, -20, -1])
async def test_each_changed_byte_is_refused(filled_file: str, keys: Keys, place: int) -> None:
    """Of the format, the flags, the key's id, the nonce, the ciphertext and the tag."""
    payload = bytearray(await the_value(filled_file, "payload"))
    payload[place] ^= 1
    await replace(filled_file, "payload", bytes(payload))
    async with Checkpointer(filled_file, encryption=keys.encryption()) as checkpointer:
        with pytest.raises((DecryptionError, KeyForgottenError)):
            await checkpointer.load("t")


@pytest.mark.parametrize("length", [1, 3, 10, 17, 30, -1])
async def test_a_truncated_payload_is_refused(filled_file: str, keys: Keys, length: int) -> None:
    payload = await the_value(filled_file, "payload")
    await replace(filled_file, "payload", payload[:length])
    error = await refused(filled_file, keys.encryption(), "payload", TruncatedRowError)
    assert isinstance(error, CheckpointCorruptionError)
    assert error.table == "cubepi_messages"


@pytest.mark.parametrize("value", ["extra", "pending_request", "answer"])
@pytest.mark.parametrize("removed", [1, 40])
async def test_a_truncated_json_value_is_refused(
    filled_file: str, keys: Keys, value: str, removed: int
) -> None:
    found = await the_value(filled_file, value)
    found["threadlog.encrypted"] = found["threadlog.encrypted"][:-removed]
    await replace(filled_file, value, found)
    await refused(filled_file, keys.encryption(), value, TruncatedRowError)


@pytest.mark.parametrize("value", READS)
async def test_plain_text_is_refused_unless_allowed(
    filled_url: str, keys: Keys, value: str
) -> None:
    async with Checkpointer(filled_url) as plain:
        await plain.delete_thread("t")
        await fill(plain)
    await refused(filled_url, keys.encryption(), value, PlainRowError)
    async with Checkpointer(filled_url, encryption=keys.encryption(allow_plain=True)) as lenient:
        await assert_filled(lenient)
        await READS[value](lenient)


@pytest.mark.parametrize("value", READS)
async def test_a_forgotten_key_is_named(filled_file: str, keys: Keys, value: str) -> None:
    encryption = keys.encryption()
    async with Checkpointer(filled_file, encryption=encryption) as checkpointer:
        await READS[value](checkpointer)
        del keys.by_id["nobody-1"]
        await READS[value](checkpointer)  # kept for a while
        encryption.forget("nobody-1")
        with pytest.raises(KeyForgottenError, match="nobody-1"):
            await READS[value](checkpointer)
    error = await refused(filled_file, keys.encryption(), value, KeyForgottenError)
    assert error.key_id == "nobody-1"


async def test_forgetting_one_owners_key_leaves_the_others(database_url: str, keys: Keys) -> None:
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        for owner in ("ann", "bob"):
            await checkpointer.append(owner, [said()], owner=owner)
    del keys.by_id["ann-1"]
    async with Checkpointer(database_url, encryption=keys.encryption()) as checkpointer:
        with pytest.raises(KeyForgottenError):
            await checkpointer.load("ann")
        assert await checkpointer.load("bob") is not None
        assert await checkpointer.delete_thread("ann")


async def test_a_lookup_error_is_a_forgotten_key_and_others_pass(sqlite_url: str) -> None:
    empty: dict[str, bytes] = {}

    def unreachable(key_id: str) -> bytes:
        raise OSError(key_id)

    def named(owner: str | None) -> str:
        return "k"

    async with Checkpointer(
        sqlite_url, encryption=Encryption(key_id=named, key=empty.__getitem__)
    ) as checkpointer:
        with pytest.raises(KeyForgottenError) as caught:
            await checkpointer.append("t", [said()])
        assert isinstance(caught.value.__cause__, KeyError)
    async with Checkpointer(
        sqlite_url, encryption=Encryption(key_id=named, key=unreachable)
    ) as checkpointer:
        with pytest.raises(OSError, match="k"):
            await checkpointer.append("t", [said()])
        assert await checkpointer.load("t") is None


@pytest.mark.parametrize("key", [b"short", "k" * 32, 5])
def test_what_is_no_key_is_refused(sqlite_url: str, key: Any) -> None:
    encryption = Encryption(key_id=lambda _: "k", key=lambda _: key)
    with SyncCheckpointer(sqlite_url, encryption=encryption) as checkpointer:
        with pytest.raises(ConfigurationError, match="16, 24 or 32 bytes") as caught:
            checkpointer.append("t", [said()])
        assert "short" not in str(caught.value)


@pytest.mark.parametrize("key_id", ["", "k" * 256, None, 5])
def test_what_is_no_id_of_a_key_is_refused(sqlite_url: str, key_id: Any) -> None:
    encryption = Encryption(key_id=lambda _: key_id, key=lambda _: bytes(16))
    with (
        SyncCheckpointer(sqlite_url, encryption=encryption) as checkpointer,
        pytest.raises(ConfigurationError, match="key_id"),
    ):
        checkpointer.append("t", [said()])


@pytest.mark.parametrize("value", READS)
async def test_without_encryption_rows_are_refused_by_name(filled_url: str, value: str) -> None:
    error = await refused(filled_url, None, value, EncryptedRowError)
    assert error.key_id == "nobody-1"


async def test_without_encryption_nothing_is_mixed_in_silently(filled_url: str, keys: Keys) -> None:
    async with Checkpointer(filled_url, encryption=keys.encryption()) as checkpointer:
        await checkpointer.append("t", [said()], key="k")
    async with Checkpointer(filled_url) as plain:
        for call in (
            plain.append("t", [said()], key="k"),
            plain.save_extra("t", {"b": 1}),
            plain.read("t"),
            plain.snapshot("t", at_seq=1),
            plain.fork("t", "fork", at_seq=1),
        ):
            with pytest.raises(EncryptedRowError):
                await call


def test_a_missing_package_is_named(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtraError, match=r"threadlog\[encryption\]"):
        keys.encryption()


def test_commands_name_the_encryption(sqlite_url: str, keys: Keys, tmp_path: Any) -> None:
    with SyncCheckpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        checkpointer.append("t", [said()])
    file = tmp_path / "file.jsonl"
    file.write_text('{"thread_id": "t", "messages": [{"role": "user", "content": "other"}]}\n')
    assert "t" in threadlog("threads", "--url", sqlite_url).output
    for command in (["show", "t"], ["show", "t", "--format", "openai_chat"], ["import", str(file)]):
        result = threadlog(*command, "--url", sqlite_url)
        assert result.exit_code != 0
        assert "is encrypted" in result.output + result.stderr
        assert "orrupt" not in result.output + result.stderr


def test_import_reports_an_encrypted_thread_and_imports_the_other_lines(
    sqlite_url: str, keys: Keys, tmp_path: Any
) -> None:
    with SyncCheckpointer(sqlite_url, encryption=keys.encryption()) as checkpointer:
        checkpointer.append("t", [said()])
    file = tmp_path / "file.jsonl"
    line = '{"thread_id": "%s", "messages": [{"role": "user", "content": "other"}]}\n'
    file.write_text("".join(line % thread_id for thread_id in ("t", "u")))
    result = threadlog("import", str(file), "--url", sqlite_url, "--json")
    assert result.exit_code == 1
    counts = json.loads(result.stdout)
    assert (counts["imported"], [bad["line"] for bad in counts["bad"]]) == (1, [1])


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_values_that_look_encrypted_are_not_stored(
    sqlite_url: str, keys: Keys, *, is_encrypted: bool
) -> None:
    """Else a person could answer so that the answer can never be read."""
    value = to_json(keys.encryption().encrypt(b"1", keys.key_id(None), Place("answer", "t")))
    encryption = keys.encryption() if is_encrypted else None
    with SyncCheckpointer(sqlite_url, encryption=encryption) as checkpointer:
        with pytest.raises(InvalidInputError, match=r"answer has the key 'threadlog\.encrypted'"):
            checkpointer.save_hitl_answer("t", "q", value)
        with pytest.raises(InvalidInputError, match=r"extra has the key 'threadlog\.encrypted'"):
            checkpointer.save_extra("t", value)
        nested = {"a": value, "threadlog.encrypted": "no"}
        checkpointer.save_hitl_answer("t", "q", nested)
        checkpointer.save_extra("t", nested)
        assert checkpointer.load_hitl_answer("t", "q") == nested
        data = checkpointer.load("t")
        assert data is not None
        assert data.extra == nested


def test_no_payload_in_plain_text_looks_encrypted() -> None:
    """0xc1 begins no value of MessagePack."""
    with pytest.raises(msgpack.FormatError):
        msgpack.unpackb(b"\xc1\x01")
