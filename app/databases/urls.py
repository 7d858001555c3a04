"""Several hosts in one URL.

They are written as people write them, ``mysql://user:password@h1:3306,h2:3306/database``, or as
SQLAlchemy does for other databases, ``mysql://user:password@/database?host=h1:3306&host=h2:3306``.
Inside, only the second kind is used: SQLAlchemy's `URL` cannot hold several ports otherwise.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from threadlog.errors import ConfigurationError

# SQLAlchemy 2.0 leaves a database's name percent-encoded, 2.1 decodes it.
_DECODES: Final = make_url("mysql://host/%41").database == "A"

# What SQLAlchemy calls by another name.
_ALIASES: Final = {"postgres": "postgresql"}

_DEFAULT_PORTS: Final = {"mysql": 3306, "mariadb": 3306, "postgresql": 5432}

_LISTED: Final = re.compile(
    r"(?P<head>(?:mysql|mariadb|postgres(?:ql)?)(?:\+\w+)?://(?:[^:/@]*(?::[^@]*)?@)?)"
    r"(?P<hosts>[^/?@]+,[^/?@]*)"
    r"(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_ADDRESS: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^:\[\],\s]+)(?::(?P<port>\d{1,5}))?")


class Host(NamedTuple):
    """Where a server listens."""

    name: str
    port: int

    def __str__(self) -> str:
        """Write it as a URL does."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def parse_url(url: str | URL) -> URL:
    """Parse a database URL, which may list several hosts.

    Raises:
        ConfigurationError: it is no URL. The error does not repeat it: it may hold a
            password.
    """
    if isinstance(url, URL) and "," in (url.host or ""):
        url = url.render_as_string(hide_password=False)
    try:
        parsed = make_url(normalize_multi_host_url(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError):
        # No cause: SQLAlchemy's error quotes the URL.
        raise ConfigurationError(
            "The database URL cannot be parsed. Write it as "
            "mysql://user:password@host:3306/database or sqlite:///file.db, with special "
            "characters of user and password percent-encoded."
        ) from None
    name, plus, driver = parsed.drivername.partition("+")
    parsed = parsed.set(drivername=f"{_ALIASES.get(name, name)}{plus}{driver}")
    encoded = isinstance(url, str) and not _DECODES
    if encoded and parsed.database and parsed.get_backend_name() != "sqlite":
        return parsed.set(database=unquote(parsed.database))
    return parsed


def show_url(url: URL) -> str:
    """Write a URL for people: without its password and without options, which may hold one."""
    hosts = {name: value for name, value in url.query.items() if name == "host"}
    return url.set(query=hosts).render_as_string(hide_password=True).replace("%3A", ":")


def normalize_multi_host_url(url: str) -> str:
    """Write a URL that lists several hosts as SQLAlchemy can hold it; others stay as they are."""
    listed = _LISTED.fullmatch(url)
    if listed is None:
        return url
    options = [f"host={quote(host, safe='[]:')}" for host in listed["hosts"].split(",")]
    options += [listed["query"]] if listed["query"] else []
    return f"{listed['head']}{listed['path'] or '/'}?{'&'.join(options)}"


def parse_hosts(url: URL) -> tuple[Host, ...]:
    """Return the hosts of a URL with several hosts, an empty tuple for a URL with one host.

    Raises:
        ConfigurationError: one of them is no host.
    """
    given = url.query.get("host", ())
    port = _DEFAULT_PORTS.get(url.get_backend_name(), 0)  # a file has none, nor hosts
    return tuple(_parse(text, port) for text in ((given,) if isinstance(given, str) else given))


def servers_of(url: URL) -> tuple[Host, ...]:
    """Give all hosts of a URL, be it one or several; none where no server is needed.

    Raises:
        ConfigurationError: one of them is no host.
    """
    port = _DEFAULT_PORTS.get(url.get_backend_name())
    if port is None:
        return ()
    return parse_hosts(url) or (Host(url.host or "localhost", url.port or port),)


def _parse(text: str, default_port: int) -> Host:
    address = _ADDRESS.fullmatch(text)
    if address is None:
        raise ConfigurationError(
            f"The URL names {text!r} among its hosts, which is none. Write several as "
            "mysql://user:password@host1:3306,host2:3306/database."
        )
    return Host(address["name"].strip("[]"), int(address["port"] or default_port))
