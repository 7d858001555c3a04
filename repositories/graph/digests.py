"""Hashes that stand in keys for names of any length, computed on the client.

MySQL 9.6 and later have no MD5(), and the same names must find the same rows on every
server. 128 bits of SHA-256: two names of one thread with the same hash are not to be expected.
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
    """Return the hash of a channel's name, which the keys of its values begin with."""
    return sha256(channel.encode()).hexdigest()[:DIGITS]
