"""Encryption of the message log with AES-GCM, by keys of the application's.

A stored value is a header, a random nonce of 96 bits, and the ciphertext with its tag. The header
is two bytes that begin no MessagePack value and name the format, a byte of flags, the length of the
key's id and the id, and the length of what follows. The header and the value's place in the
database are the associated data: a value that is changed or moved does not decrypt. In a JSON
column the value is base64 in an object.
"""

import os
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from threadlog.errors import (
    ConfigurationError,
    DecryptionError,
    EncryptedRowError,
    InvalidInputError,
    KeyForgottenError,
    MissingExtraError,
    PlainRowError,
    TruncatedRowError,
)

if TYPE_CHECKING:  # an extra
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Encryption", "Place"]

ValueName: TypeAlias = Literal["payload", "extra", "pending_request", "answer"]

_FORMAT: Final = b"\xc1\x01"
_METADATA_INSIDE: Final = 1
_NONCE: Final = 12
_TAG: Final = 16
_KEY_SIZES: Final = (16, 24, 32)
_LONGEST_ID: Final = 255

HEAD: Final = len(_FORMAT) + 2 + _LONGEST_ID + 4
"""The most bytes of a header."""

OVERHEAD: Final = HEAD + _NONCE + _TAG
"""The most bytes that a value grows by."""

# Keys that are kept, and for how long: a key that was forgotten elsewhere stops working then.
_KEPT: Final = 1_000
_KEPT_SECONDS: Final = 300.0

_MEMBER: Final = "threadlog.encrypted"
_BEGINNING: Final = "wQE"  # the format in base64


class Place(NamedTuple):
    """The place of a value in the database."""

    value: ValueName
    thread_id: str
    seq: int | None = None
    """The seq of the message; None of a value that belongs to no message."""

    ids: tuple[str, ...] = ()
    """The other ids of the value: of an answer the run and the question."""


class Encryption:
    """Encrypts messages, extra, questions and answers by AES-GCM; see `Checkpointer`.

    The two functions are called inside the transaction that reads or writes, while the thread may
    be locked: with asyncio in the thread of the event loop, on SQLite in a thread of threadlog's.
    They must be quick, and safe to call from several threads.
    """

    def __init__(
        self,
        *,
        key_id: Callable[[str | None], str],
        key: Callable[[str], bytes | None],
        metadata: bool = False,
        allow_plain: bool = False,
    ) -> None:
        """Create an encryption, for any number of checkpointers.

        Args:
            key_id: returns the id of the key for new values of an owner's threads; the owner is
                None for threads without one. At most 255 bytes in UTF-8, stored with each value.
            key: returns the key of an id: 16, 24 or 32 bytes. None, or a `LookupError`, if the key
                was forgotten. It is asked at most every five minutes for each of 1,000 keys.
            metadata: whether the metadata of new messages is encrypted too. The column is then
                empty, and nothing can be searched or indexed in it.
            allow_plain: whether values in plain text are read, as long as not all are encrypted.

        Raises:
            MissingExtraError: the package ``cryptography`` is not installed.
        """
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise MissingExtraError("cryptography", "encryption") from error
        self.metadata, self.allow_plain = metadata, allow_plain
        self._key_id, self._key = key_id, key
        self._aesgcm, self._invalid_tag = AESGCM, InvalidTag
        self._ciphers: dict[str, tuple[AESGCM, float]] = {}
        """By id of the key, with the time at which it is asked for again."""
        self._lock = Lock()

    def forget(self, key_id: str) -> None:
        """Drop a key that this object keeps, so that `key` is asked for it again."""
        with self._lock:
            self._ciphers.pop(key_id, None)

    def current_key_id(self, owner: str | None) -> str:
        """Return the id of the key for new values of an owner.

        Raises:
            ConfigurationError: the application's function returned no id of a key.
        """
        key_id = self._key_id(owner)
        if not isinstance(key_id, str) or not 0 < len(key_id.encode()) <= _LONGEST_ID:
            raise ConfigurationError(
                f"key_id() of the encryption returned {key_id!r}. It must return a text of 1 to "
                f"{_LONGEST_ID} bytes."
            )
        return key_id

    def encrypt(
        self, value: bytes, key_id: str, place: Place, *, metadata_inside: bool = False
    ) -> bytes:
        """Encrypt a value for its place.

        Args:
            value: the value.
            key_id: the id of the key.
            place: the place.
            metadata_inside: whether the copy of the metadata in a payload counts.

        Raises:
            KeyForgottenError: there is no such key.
        """
        flags = _METADATA_INSIDE if metadata_inside else 0
        cipher, name = self._cipher(key_id, place), key_id.encode()
        size = (_NONCE + len(value) + _TAG).to_bytes(4)
        header = b"".join((_FORMAT, bytes((flags, len(name))), name, size))
        nonce = os.urandom(_NONCE)
        return header + nonce + cipher.encrypt(nonce, value, _associated(header, place))

    def decrypt(self, stored: bytes, place: Place) -> bytes:
        """Decrypt a value of a place; return a value in plain text if such are allowed.

        Raises:
            PlainRowError: it is in plain text.
            TruncatedRowError: its end is missing.
            KeyForgottenError: its key was forgotten.
            DecryptionError: it was encrypted with another key, changed, or moved from elsewhere.
        """
        key_id = key_id_of(stored, place)
        if key_id is None:
            self.check_plain_allowed(place)
            return stored
        end = len(_FORMAT) + 2 + len(key_id.encode()) + 4
        body = stored[end:]
        if len(body) < int.from_bytes(stored[end - 4 : end]) or len(body) < _NONCE + _TAG:
            raise TruncatedRowError(key_id=key_id, **_attributes(place))
        associated = _associated(stored[:end], place)
        try:
            return self._cipher(key_id, place).decrypt(body[:_NONCE], body[_NONCE:], associated)
        except self._invalid_tag as error:
            raise DecryptionError(key_id=key_id, **_attributes(place)) from error

    def check_plain_allowed(self, place: Place) -> None:
        """Check that values in plain text are allowed.

        Raises:
            PlainRowError: they are not.
        """
        if not self.allow_plain:
            raise PlainRowError(**_attributes(place))

    def is_current(self, head: bytes, key_id: str, place: Place) -> bool:
        """Return True if a value is encrypted as a new one would be; its first bytes suffice."""
        inside = self.metadata and place.value == "payload"
        return key_id_of(head, place) == key_id and (not inside or has_metadata_inside(head))

    def _cipher(self, key_id: str, place: Place) -> "AESGCM":
        """Return the cipher of a key.

        Raises:
            KeyForgottenError: the application no longer has the key.
            ConfigurationError: the application's function returned something else.
        """
        now = time.monotonic()
        cipher, until = self._ciphers.get(key_id, (None, 0.0))
        if cipher is not None and now < until:
            return cipher
        cause: LookupError | None = None
        try:
            key = self._key(key_id)
        except LookupError as error:
            key, cause = None, error
        if key is None:
            self.forget(key_id)
            raise KeyForgottenError(key_id=key_id, **_attributes(place)) from cause
        if not isinstance(key, bytes) or len(key) not in _KEY_SIZES:
            raise ConfigurationError(
                f"key({key_id!r}) of the encryption did not return 16, 24 or 32 bytes. Return the "
                "key itself, not its text."
            )
        cipher = self._aesgcm(key)
        with self._lock:
            self._ciphers.pop(key_id, None)
            while len(self._ciphers) >= _KEPT:
                del self._ciphers[next(iter(self._ciphers))]
            self._ciphers[key_id] = cipher, now + _KEPT_SECONDS
        return cipher


def is_encrypted(stored: bytes) -> bool:
    """Return True if bytes are an encrypted value: no MessagePack begins with them."""
    return stored[:1] == _FORMAT[:1]


def key_id_of(stored: bytes, place: Place) -> str | None:
    """Return the id of the key of a value, of which the first bytes suffice; None in plain text.

    Raises:
        TruncatedRowError: the end of the header is missing.
        DecryptionError: the format is unknown.
    """
    if not is_encrypted(stored):
        return None
    begin = len(_FORMAT) + 2
    end = begin + stored[begin - 1] if len(stored) >= begin else HEAD
    if len(stored) < end + 4:
        raise TruncatedRowError(**_attributes(place))
    try:
        if stored[: len(_FORMAT)] == _FORMAT:
            return stored[begin:end].decode()
    except UnicodeDecodeError as error:
        raise DecryptionError(**_attributes(place)) from error
    raise DecryptionError(**_attributes(place))


def has_metadata_inside(stored: bytes) -> bool:
    """Return True if the copy of the metadata in an encrypted payload counts, not the column."""
    return bool(stored[len(_FORMAT)] & _METADATA_INSIDE)


def to_json(stored: bytes) -> dict[str, Any]:
    """Return the object that a JSON column holds in place of an encrypted value."""
    return {_MEMBER: b64encode(stored).decode()}


def from_json(value: Any) -> bytes | None:
    """Return the encrypted value of a JSON column; None if it is in plain text."""
    text = value.get(_MEMBER) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.startswith(_BEGINNING):
        return None
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return _FORMAT  # is refused as truncated


def check_is_plain(value: object, what: str) -> None:
    """Check that a new JSON value could not be taken for an encrypted one.

    Raises:
        InvalidInputError: it could; threadlog would refuse to read it.
    """
    if from_json(value) is not None:
        raise InvalidInputError(f"{what} has the key {_MEMBER!r} of encrypted values. Rename it.")


def refuse_encrypted(stored: bytes | None, place: Place) -> None:
    """Raise an error if a value that is to be read in plain text is encrypted.

    Args:
        stored: the value, or the result of `from_json`.
        place: its place.

    Raises:
        EncryptedRowError: it is encrypted.
    """
    if stored is not None and is_encrypted(stored):
        raise EncryptedRowError(key_id=key_id_of(stored, place), **_attributes(place))


def _attributes(place: Place) -> dict[str, Any]:
    return {"value": place.value, "thread_id": place.thread_id, "seq": place.seq}


def _associated(header: bytes, place: Place) -> bytes:
    """Return the associated data: each part with its length, so that no two places share it."""
    seq = "" if place.seq is None else str(place.seq)
    parts = [part.encode() for part in (place.value, place.thread_id, seq, *place.ids)]
    return header + b"".join(len(part).to_bytes(4) + part for part in parts)
