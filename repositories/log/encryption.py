"""Encrypted values of the log: encrypting, decrypting and re-encrypting them in a transaction."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

import msgpack
from sqlalchemy import LargeBinary, Select, Update, bindparam, case, func, select, update

from threadlog.encryption import (
    HEAD,
    Encryption,
    Place,
    from_json,
    has_metadata_inside,
    is_encrypted,
    to_json,
)
from threadlog.errors import CheckpointCorruptionError
from threadlog.models.dialects.json import as_text
from threadlog.models.dialects.locking import subquery_lock
from threadlog.models.tables import ANSWERS, MESSAGES, OWNERS, THREADS
from threadlog.repositories.base import Repository, Row, Statement, chunks

_OWNER: Final = select(OWNERS.c.owner).where(OWNERS.c.thread_id == bindparam("thread_id"))
_OWNERS: Final = select(OWNERS.c.thread_id, OWNERS.c.owner).where(
    OWNERS.c.thread_id.in_(bindparam("thread_ids", expanding=True))
)
_OF_THREAD: Final = MESSAGES.c.thread_id == bindparam("thread_id")
_HEADS: Final = (
    select(
        MESSAGES.c.seq,
        func.length(MESSAGES.c.payload),
        func.substr(MESSAGES.c.payload, 1, HEAD, type_=LargeBinary()),
    )
    .where(_OF_THREAD, MESSAGES.c.seq > bindparam("after_seq"))
    .order_by(MESSAGES.c.seq)
    .limit(bindparam("limit"))
)
_STORED: Final = select(MESSAGES.c.seq, as_text(MESSAGES.c.metadata), MESSAGES.c.payload).where(
    _OF_THREAD, MESSAGES.c.seq.in_(bindparam("seqs", expanding=True))
)
_VALUES: Final = select(
    THREADS.c.thread_id, as_text(THREADS.c.extra), as_text(THREADS.c.pending_request)
).where(THREADS.c.thread_id == bindparam("thread_id"))
_ANSWERS: Final = select(ANSWERS.c.run_id, ANSWERS.c.question_id, as_text(ANSWERS.c.answer)).where(
    ANSWERS.c.thread_id == bindparam("thread_id")
)

# Values in one IN list: below the limit of every server.
_AT_ONCE: Final = 500

TextT = TypeVar("TextT", str, bytes, str | bytes)

QUESTION_ID: Final = "question_id"
"""The member of a question that stays readable, as it is compared in the database."""


class Head(NamedTuple):
    """A payload's size, and its state, which its first bytes tell."""

    seq: int
    size: int
    is_current: bool
    """Whether it is encrypted as a new one would be."""


class EncryptedValueRepository(Repository):
    """Encrypts and decrypts values of the log; only for units of work that have an encryption.

    A new value gets the current key of the thread's owner. The caller holds the thread's lock.
    """

    @property
    def encryption(self) -> Encryption:
        """The encryption of the unit of work."""
        if self.uow.encryption is None:
            raise RuntimeError("The unit of work has no encryption.")
        return self.uow.encryption

    def encrypt_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Encrypt rows of messages that are to be inserted, in place."""
        encryption = self.encryption
        keys = self._key_ids({row["thread_id"] for row in rows})
        for row in rows:
            thread_id = row["thread_id"]
            place = Place("payload", thread_id, row["seq"])
            row["payload"] = encryption.encrypt(
                row["payload"], keys[thread_id], place, metadata_inside=encryption.metadata
            )
            if encryption.metadata:
                row["metadata"] = {}

    def decrypt_payload(self, thread_id: str, seq: int, stored: bytes) -> bytes:
        """Decrypt the payload of a message."""
        return self.encryption.decrypt(stored, Place("payload", thread_id, seq))

    def decrypt_rows(self, thread_id: str, rows: Iterable[Row]) -> list[Row]:
        """Decrypt rows of messages that end with the columns `metadata` and `payload`.

        The metadata is None if the copy in the payload counts.
        """
        found: list[Row] = []
        for *before, metadata, payload in rows:
            plain = self.decrypt_payload(thread_id, before[0], payload)
            is_inside = plain is not payload and has_metadata_inside(payload)
            found.append((*before, None if is_inside else metadata, plain))
        return found

    def encrypt_json(self, value: Any, place: Place) -> Any:
        """Return what a JSON column is to hold for a value; an empty extra stays as it is."""
        if place.value == "extra" and not value:
            return value
        key_id = self._key_ids({place.thread_id})[place.thread_id]
        text = json.dumps(value, ensure_ascii=False).encode()
        return to_json(self.encryption.encrypt(text, key_id, place))

    def encrypt_request(self, thread_id: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return what the column of the pending request is to hold."""
        question_id = request[QUESTION_ID]
        place = Place("pending_request", thread_id, ids=(question_id,))
        return {QUESTION_ID: question_id, **self.encrypt_json(request, place)}

    def decrypt_json(self, stored: TextT, place: Place) -> TextT | str:
        """Return the text of a JSON value of which a column holds a text; see `encrypt_json`.

        A text that is not JSON is returned as it is, for its reader to refuse.
        """
        if place.value == "extra" and stored == "{}":
            return stored
        try:
            value = json.loads(stored)
        except (TypeError, ValueError):
            return stored
        encrypted = from_json(value)
        if encrypted is None:
            self.encryption.check_plain_allowed(place)
            return stored
        if place.value == "pending_request":
            place = place._replace(ids=(str(value.get(QUESTION_ID)),))
        return self.encryption.decrypt(encrypted, place).decode()

    def heads(self, thread_id: str, after_seq: int, limit: int) -> list[Head]:
        """Return the sizes and the state of payloads after a seq, in seq order."""
        given = {"thread_id": thread_id, "after_seq": after_seq, "limit": limit}
        key_id = self._key_ids({thread_id})[thread_id]

        def is_current(seq: int, head: bytes) -> bool:
            return self.encryption.is_current(head, key_id, Place("payload", thread_id, seq))

        rows = self.uow.execute(self._current(_HEADS), given)
        return [Head(seq, size, is_current(seq, bytes(head))) for seq, size, head in rows]

    def reencrypt_payloads(
        self, thread_id: str, seqs: Sequence[int], *, source: str | None = None
    ) -> None:
        """Encrypt the payloads of a thread's messages anew, in one statement.

        Args:
            thread_id: the thread.
            seqs: the messages.
            source: the thread that they were copied from; None for the thread itself.
        """
        found = self.uow.execute(
            self._current(_STORED), {"thread_id": thread_id, "seqs": list(seqs)}
        )
        key_id = self._key_ids({thread_id})[thread_id]
        given: dict[str, Any] = {"of_thread": thread_id}
        for number, (seq, metadata, payload) in enumerate(found):
            plain = self.decrypt_payload(source or thread_id, seq, payload)
            is_inside = is_encrypted(payload) and has_metadata_inside(payload)
            if self.encryption.metadata and not is_inside:
                plain, is_inside = _with_metadata(plain, metadata), True
            place = Place("payload", thread_id, seq)
            given[f"seq_{number}"] = seq
            given[f"payload_{number}"] = self.encryption.encrypt(
                plain, key_id, place, metadata_inside=is_inside
            )
        if count := len(given) // 2:
            self.uow.execute(_replace(count, with_metadata=self.encryption.metadata), given)

    def reencrypt_values(self, thread_id: str) -> int:
        """Encrypt a thread's extra, question and answers anew if they are not current.

        Returns:
            The number of values that were changed.
        """
        row = self.uow.execute(self._current(_VALUES), {"thread_id": thread_id}).first()
        if row is None:
            return 0
        changed: dict[str, Any] = {}
        extra, request = Place("extra", thread_id), Place("pending_request", thread_id)
        if row[1] != "{}" and self._is_stale(row[1], extra):
            changed["extra"] = self.encrypt_json(self._decrypted(row[1], extra), extra)
        if row[2] is not None and self._is_stale(row[2], request):
            question = self._decrypted(row[2], request)
            changed["pending_request"] = self.encrypt_request(thread_id, question)
        if changed:
            same = {"updated_at": THREADS.c.updated_at}
            of_thread = update(THREADS).where(THREADS.c.thread_id == thread_id)
            self.uow.execute(of_thread.values(**changed, **same))
        answers = self.uow.execute(self._current(_ANSWERS), {"thread_id": thread_id}).all()
        return len(changed) + sum(self._reencrypt_answer(thread_id, *each) for each in answers)

    def _reencrypt_answer(
        self, thread_id: str, run_id: str, question_id: str, stored: str | bytes
    ) -> bool:
        place = Place("answer", thread_id, ids=(run_id, question_id))
        if not self._is_stale(stored, place):
            return False
        answer = self.encrypt_json(self._decrypted(stored, place), place)
        key = {"thread_id": thread_id, "run_id": run_id, "question_id": question_id}
        of_key = (ANSWERS.c[name] == value for name, value in key.items())
        self.uow.execute(update(ANSWERS).where(*of_key).values(answer=answer))
        return True

    def _is_stale(self, stored: str | bytes, place: Place) -> bool:
        """Return True if the text of a JSON column is not encrypted with the current key."""
        encrypted = from_json(_parse(stored, place))
        key_id = self._key_ids({place.thread_id})[place.thread_id]
        return encrypted is None or not self.encryption.is_current(encrypted, key_id, place)

    def _decrypted(self, stored: str | bytes, place: Place) -> Any:
        return _parse(self.decrypt_json(stored, place), place)

    def _key_ids(self, thread_ids: Iterable[str]) -> dict[str, str]:
        """Return the id of the current key of each thread's owner."""
        owners = self.uow.key_owners
        missing = sorted(set(thread_ids) - owners.keys())
        owners.update(dict.fromkeys(missing))
        if missing and self.uow.has_control:
            self._read_owners(missing)
        return {key: self.encryption.current_key_id(owners[key]) for key in thread_ids}

    def _read_owners(self, thread_ids: Sequence[str]) -> None:
        if len(thread_ids) == 1:
            key = {"thread_id": thread_ids[0]}
            row = self.uow.run(_select_owner(self.uow.dialect), key).first()
            self.uow.key_owners[thread_ids[0]] = None if row is None else row[0]
            return
        for some in chunks(thread_ids, _AT_ONCE):
            found = self.uow.execute(self._current(_OWNERS), {"thread_ids": some})
            self.uow.key_owners.update({row[0]: row[1] for row in found})

    def _current(self, statement: Select[Any]) -> Select[Any]:
        """Return a SELECT of committed rows: a snapshot may be older than the thread's lock."""
        return subquery_lock(self.uow.dialect)(statement)


@cache
def _select_owner(dialect: str) -> Statement:
    return Statement(subquery_lock(dialect)(_OWNER))


@cache
def _replace(count: int, *, with_metadata: bool) -> Update:
    """Return the UPDATE of so many payloads of a thread: ``seq_0``, ``payload_0`` and so on."""
    seqs = [bindparam(f"seq_{place}", type_=MESSAGES.c.seq.type) for place in range(count)]
    payloads = (
        bindparam(f"payload_{place}", type_=MESSAGES.c.payload.type) for place in range(count)
    )
    changes: dict[str, Any] = {
        "payload": case(
            *((MESSAGES.c.seq == seq, new) for seq, new in zip(seqs, payloads, strict=True))
        )
    }
    if with_metadata:
        changes["metadata"] = {}
    is_thread = MESSAGES.c.thread_id == bindparam("of_thread", type_=MESSAGES.c.thread_id.type)
    return update(MESSAGES).where(is_thread, MESSAGES.c.seq.in_(seqs)).values(changes)


def _parse(text: str | bytes, place: Place) -> Any:
    """Return the JSON value of a text.

    Raises:
        CheckpointCorruptionError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        table = (ANSWERS if place.value == "answer" else THREADS).name
        raise CheckpointCorruptionError(
            table=table, thread_id=place.thread_id, reason=f"{place.value} is not JSON"
        ) from error


def _with_metadata(payload: bytes, metadata: str) -> bytes:
    """Return a payload with the metadata of the column, which counted until now."""
    content = msgpack.unpackb(payload, raw=False)
    content["metadata"] = json.loads(metadata)
    packed: bytes = msgpack.packb(content, use_bin_type=True)
    return packed
