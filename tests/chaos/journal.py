"""A journal of workers' attempts and acknowledgements, of which no kill loses a line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file that many processes append lines to; a line is written wholly or not at all."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made if need be."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event: str, **details: Any) -> None:
        """Write a line to the operating system, which keeps it when this process is killed."""
        os.write(self._file, json.dumps({"event": event, **details}).encode() + b"\n")


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a journal, in the order in which it was written."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
