"""Database URLs, of which one may list several hosts.

People write several hosts as ``mysql://user:password@h1:3306,h2:3306/database``, or in
SQLAlchemy's form, ``mysql://user:password@/database?host=h1:3306&host=h2:3306``. A parsed URL has
the second form: SQLAlchemy's `URL` cannot hold several ports otherwise.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from threadlog.errors import ConfigurationError

# SQLAlchemy 2.0 leaves a database's name percent-encoded, 2.1 decodes it.
_SQLALCHEMY_DECODES: Final = make_url("mysql://host/%41").database == "A"

# Schemes that SQLAlchemy knows by another name.
_ALIASES: Final = {"postgres": "postgresql"}

_DEFAULT_PORTS: Final = {"mysql": 3306, "mariadb": 3306, "postgresql": 5432}

_MULTI_HOST: Final = re.compile(
    r"(?P<head>(?:mysql|mariadb|postgres(?:ql)?)(?:\+\w+)?://(?:[^:/@]*(?::[^@]*)?@)?)"
    r"(?P<hosts>[^/?@]+,[^/?@]*)"
    r"(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_ADDRESS: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[^:\[\],\s]+)(?::(?P<port>\d{1,5}))?")


class Host(NamedTuple):
    """The address of a server."""

    name: str
    port: int

    def __str__(self) -> str:
        """Return it as a URL contains it."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def parse_url(url: str | URL) -> URL:
    """Parse a database URL, which may list several hosts.

    Raises:
        ConfigurationError: the URL is invalid. The error does not contain the URL, which may
            contain a password.
    """
    if isinstance(url, URL) and "," in (url.host or ""):
        url = url.render_as_string(hide_password=False)
    try:
        parsed = make_url(normalize_multi_host_url(url) if isinstance(url, str) else url)
    except (ArgumentError, ValueError):
        # No cause: SQLAlchemy's error quotes the URL.
        raise ConfigurationError(
            "The database URL cannot be parsed. Write it as "
            "mysql://user:password@host:3306/database or sqlite:///file.db, and percent-encode "
            "special characters in user and password."
        ) from None
    name, plus, driver = parsed.drivername.partition("+")
    parsed = parsed.set(drivername=f"{_ALIASES.get(name, name)}{plus}{driver}")
    encoded = isinstance(url, str) and not _SQLALCHEMY_DECODES
    if encoded and parsed.database and parsed.get_backend_name() != "sqlite":
        return parsed.set(database=unquote(parsed.database))
    return parsed


def show_url(url: URL) -> str:
    """Return a URL for people: without its password, and without options but for hosts.

    Options are left out because one of them may be a password.
    """
    hosts = {name: value for name, value in url.query.items() if name == "host"}
    return url.set(query=hosts).render_as_string(hide_password=True).replace("%3A", ":")


def normalize_multi_host_url(url: str) -> str:
    """Convert a URL that lists several hosts to SQLAlchemy's form; return others unchanged."""
    listed = _MULTI_HOST.fullmatch(url)
    if listed is None:
        return url
    options = [f"host={quote(host, safe='[]:')}" for host in listed["hosts"].split(",")]
    options += [listed["query"]] if listed["query"] else []
    return f"{listed['head']}{listed['path'] or '/'}?{'&'.join(options)}"


def parse_hosts(url: URL) -> tuple[Host, ...]:
    """Return the hosts of a URL with several hosts, an empty tuple for a URL with one host.

    Raises:
        ConfigurationError: one of them is not a valid host[:port].
    """
    hosts = url.query.get("host", ())
    port = _DEFAULT_PORTS.get(url.get_backend_name(), 0)  # a file has neither port nor hosts
    return tuple(_parse(text, port) for text in ((hosts,) if isinstance(hosts, str) else hosts))


def servers_of(url: URL) -> tuple[Host, ...]:
    """Return all hosts of a URL, whether one or several; an empty tuple if it names a file.

    Raises:
        ConfigurationError: one of them is not a valid host[:port].
    """
    port = _DEFAULT_PORTS.get(url.get_backend_name())
    if port is None:
        return ()
    return parse_hosts(url) or (Host(url.host or "localhost", url.port or port),)


def _parse(text: str, default_port: int) -> Host:
    address = _ADDRESS.fullmatch(text)
    if address is None:
        raise ConfigurationError(
            f"{text!r} is not a valid host[:port] in the URL. Write several hosts as "
            "mysql://user:password@host1:3306,host2:3306/database."
        )
    return Host(address["name"].strip("[]"), int(address["port"] or default_port))
