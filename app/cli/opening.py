"""Opening databases that commands look into."""

from threadlog.backends import backend_of, parse_url
from threadlog.checkpointer import Checkpointer
from threadlog.errors import ConfigurationError


def existing(url: str) -> Checkpointer:
    """Make a checkpointer on a database that is there: looking must not create a file.

    Raises:
        ConfigurationError: the URL cannot be used, or its file does not exist.
    """
    parsed = parse_url(url)
    if file := backend_of(parsed).missing_file(parsed):
        raise ConfigurationError(
            f"There is no file {file!r}. Give the database with --url or THREADLOG_URL; "
            "importing creates a file."
        )
    return Checkpointer(parsed)
