"""Files of conversations for tests: a sample of three, and real ones where the machine has them."""

from itertools import islice
from pathlib import Path
from typing import Final

from tests.support.databases import SERVERS
from tests.support.matrix import FULL

SAMPLE: Final = Path(__file__).parent / "data" / "sample.jsonl"

_REAL: Final = Path(__file__).parents[3] / "shared" / "data" / "airline_conversations.jsonl"

FILES: Final = [SAMPLE, _REAL] if _REAL.exists() else [SAMPLE]

# The first 20 of 200 have the longest conversation and every kind of message of all of them.
_SOME: Final = 20


def conversations(file: Path, folder: Path) -> Path:
    """Return the file, or in a run with one server at most what `first_conversations` returns."""
    return file if FULL or len(SERVERS) > 1 else first_conversations(file, folder)


def first_conversations(file: Path, folder: Path) -> Path:
    """Return a file in the folder with the first conversations of a file."""
    some = folder / f"some_{file.name}"
    with file.open(encoding="utf-8") as lines:
        some.write_text("".join(islice(lines, _SOME)), encoding="utf-8")
    return some
