"""A server's program that can be run."""

import os.path
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.error import SourceFailedError


@dataclass(frozen=True)
class Program:
    """A program: how it is called and what it says it is."""

    prefix: tuple[str, ...]
    """What runs it; empty where it runs by itself."""

    path: Path

    options: tuple[str, ...]
    """What it needs on every start."""

    version: tuple[int, ...]

    build: str
    """Its version line, from the version on."""

    @property
    def command(self) -> tuple[str, ...]:
        """The program and the options that belong to where it lies."""
        return (*self.prefix, str(self.path), *self.options)

    def companion(self, name: str, *folders: str) -> Path:
        """Find a program that came with this one.

        Args:
            name: what it is called.
            folders: where it may lie beside this one's own folder, as seen from there.

        Raises:
            SourceFailedError: it is in none of them.
        """
        here = self.path.resolve().parent
        paths = [Path(os.path.normpath(here / folder / name)) for folder in (".", *folders)]
        for path in paths:
            if path.exists():
                return path
        raise SourceFailedError(f"there is no {' or '.join(map(str, paths))}")
