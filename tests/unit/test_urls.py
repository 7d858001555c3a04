"""Tests of several hosts in a URL, and of the choice between them."""

import pytest
from sqlalchemy import make_url

from threadlog import Checkpointer, SyncCheckpointer
from threadlog.databases.urls import Host, parse_hosts, parse_url, show_url
from threadlog.errors import ConfigurationError

TWO = (Host("h1", 3306), Host("h2", 3307))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("mysql://u:p@h1:3306,h2:3307/db", TWO),
        ("mysql+asyncmy://u:p@h1,h2:3307/db", TWO),
        ("mysql://u:p@/db?host=h1&host=h2:3307", TWO),
        ("mysql://h1,h2:3307/db", TWO),
        ("mysql://u:p%40,@h1,h2:3307/db?ssl_mode=REQUIRED", TWO),
        ("mysql://u:p@[::1]:3306,[fe80::1]/db", (Host("::1", 3306), Host("fe80::1", 3306))),
        ("mysql://u:p@h1:3306/db", ()),
        ("mysql://u:a,b@h1:3306/db", ()),
        ("sqlite:///a,b.db", ()),
    ],
)
def test_hosts_are_read_from_both_ways_to_write_them(url: str, hosts: tuple[Host, ...]) -> None:
    assert parse_hosts(parse_url(url)) == hosts


def test_the_rest_of_the_url_stays() -> None:
    url = parse_url("mysql://us%40er:p%2Cw@h1:3306,h2/the%20db?ssl_mode=REQUIRED")
    assert (url.username, url.password, url.database) == ("us@er", "p,w", "the db")
    assert url.query["ssl_mode"] == "REQUIRED"
    assert parse_url(show_url(url)).query["host"] == ("h1:3306", "h2")


def test_a_url_of_several_hosts_is_shown_with_them_and_without_its_password() -> None:
    shown = show_url(parse_url("mysql://u:secret@h1:3306,h2:3307/db?ssl_mode=REQUIRED"))
    assert shown == "mysql://u:***@/db?host=h1:3306&host=h2:3307"


@pytest.mark.parametrize("host", ["h2:port", "h2:3306:1", "h 2", "[h2", "h2:123456"])
def test_an_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a valid host\[:port\]") as caught:
        Checkpointer(f"mysql://u:secret@h1:3306,{host}/db")
    assert "secret" not in str(caught.value)


def test_url_objects_are_read_as_text_is() -> None:
    assert parse_hosts(parse_url(make_url("mysql://u:p@/db?host=h1&host=h2:3307"))) == TWO
    assert parse_hosts(parse_url(make_url("mysql://u:p@h1,h2:3307/db"))) == TWO
    assert repr(SyncCheckpointer(make_url("mysql://u:p@h1,h2:3307/db"))).count("h2:3307") == 1
