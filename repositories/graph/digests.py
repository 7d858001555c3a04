"""Hashes that stand in keys for names of any length, made on the client.

MySQL 9.6 and later have no MD5(), and the same names must find the same rows on every
server. 128 bits of SHA-256: two names of one thread that meet in one are not to be expected.
"""

from hashlib import sha256

DIGITS = 32
"""Hexadecimal digits of one hash."""


def ns_digest(checkpoint_ns: str) -> str:
    """Give the hash of a checkpoint's namespace."""
    return _digest(checkpoint_ns)


def channel_digest(channel: str) -> str:
    """Give the hash of a channel's name, with which the keys of its values begin."""
    return _digest(channel)


def blob_key(channel: str, version: str) -> str:
    """Give the key of a channel's value: the hash of its name, then that of its version."""
    return channel_digest(channel) + _digest(version)


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()[:DIGITS]
