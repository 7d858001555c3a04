"""Hashes of names of any length, for use in keys, computed on the client.

MySQL 9.6 and later have no MD5(), and the same names must find the same rows on every
server. With 128 bits of SHA-256 a collision of two names in one thread is not to be expected.
"""

from functools import lru_cache
from hashlib import sha256

DIGITS = 32
"""Hexadecimal digits of one hash."""


@lru_cache(maxsize=4096)
def ns_digest(checkpoint_ns: str) -> str:
    """Return the hash of a checkpoint's namespace."""
    return sha256(checkpoint_ns.encode()).hexdigest()[:DIGITS]


@lru_cache(maxsize=4096)
def channel_digest(channel: str) -> str:
    """Return the hash of a channel's name; the keys of the channel's values begin with it."""
    return sha256(channel.encode()).hexdigest()[:DIGITS]
