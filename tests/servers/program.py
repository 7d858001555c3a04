"""A mysqld that can be run."""

import re
import shutil
from dataclasses import dataclass

from tests.servers.command import run
from tests.servers.error import MINIMUM_VERSION, SourceFailedError


@dataclass(frozen=True)
class Program:
    """A mysqld: how it is called and what it says it is."""

    command: tuple[str, ...]
    """The program and the options that belong to where it lies."""

    build: str
    """Its version line, from the version on."""


def supported_version(text: str) -> tuple[int, int, int]:
    """Read a server's version, as ``mysqld --version`` or a greeting has it.

    Raises:
        SourceFailedError: it is MariaDB, older than the minimum, or no version at all.
    """
    if "mariadb" in text.lower():
        raise SourceFailedError(f"this is MariaDB, not MySQL: {text.strip()}")
    match = re.search(r"(?:^|\bVer )(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise SourceFailedError(f"no MySQL version in {text.strip()!r}")
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version < MINIMUM_VERSION:
        needed = ".".join(map(str, MINIMUM_VERSION))
        raise SourceFailedError(f"MySQL {match[1]}.{match[2]}.{match[3]} is older than {needed}")
    return version


def described(executable: tuple[str, ...], options: tuple[str, ...] = ()) -> Program:
    """Ask a mysqld for its version.

    Args:
        executable: what runs it.
        options: what it needs on every start.

    Raises:
        SourceFailedError: it does not run, or is not a MySQL that threadlog works with.
    """
    text = run([*executable, "--no-defaults", "--version"], seconds=30)
    supported_version(text)
    build = text[max(text.find("Ver "), 0) :].strip()
    return Program((*executable, "--no-defaults", *options), build)


def program_on_path() -> Program:
    """Find the machine's own mysqld.

    Raises:
        SourceFailedError: there is none, or it is no MySQL that threadlog works with.
    """
    path = shutil.which("mysqld")
    if path is None:
        raise SourceFailedError("there is no mysqld on PATH")
    return described((path,))
