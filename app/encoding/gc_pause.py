"""Python's garbage collector, while many objects are made that all stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Keep the collector from running in the block, which must be short and must not wait.

    It would look through what the block makes again and again and find no garbage: more than
    half of the time that decoding thousands of messages takes. Where it is off it stays off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
