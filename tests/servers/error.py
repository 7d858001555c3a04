"""Why there is no server."""

from collections.abc import Sequence
from typing import Final

URL_VARIABLE: Final = "THREADLOG_TEST_MYSQL_URL"
"""The environment variable that names a server to use as it is."""

MINIMUM_VERSION: Final = (8, 0, 13)
"""The oldest MySQL that threadlog works with."""

REMEDY: Final = (
    f"Set {URL_VARIABLE} to a MySQL >= 8.0.13 whose account may create databases "
    "(such as mysql://root@127.0.0.1:3306/), or install mysqld, or Docker."
)
"""What to do where no server can be had."""


class SourceFailedError(RuntimeError):
    """One way of getting a server does not work here; another may."""


class ServerUnavailableError(RuntimeError):
    """No MySQL server can be had on this machine."""


def unavailable(attempts: Sequence[tuple[str, str]]) -> ServerUnavailableError:
    """Make the error that says what was tried, why each way failed, and what to do.

    Args:
        attempts: pairs of a source and the reason why it failed, in the order tried.
    """
    lines = ["There is no MySQL server for the tests. Tried:"]
    for source, reason in attempts:
        lines.append(f"- {source}: {reason.strip().replace(chr(10), chr(10) + '    ')}")
    return ServerUnavailableError("\n".join([*lines, REMEDY]))
