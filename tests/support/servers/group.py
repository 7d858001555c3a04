"""Three mysqld processes on loopback that are one group: MySQL Group Replication."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Connection, create_engine, make_url

from tests.support.servers.command import say
from tests.support.servers.error import SourceFailedError
from tests.support.servers.process import free_port, running_process
from tests.support.servers.product import HOST
from tests.support.servers.products import MYSQL

NODES: Final = 3
"""The fewest that outvote one that is gone."""

_ONLINE_SECONDS: Final = 120


@dataclass(frozen=True)
class Node:
    """One member of a group."""

    url: str
    """Its URL without a database."""

    pid: int
    """Its process, for tests that kill it."""

    @property
    def address(self) -> str:
        """Its host and port, as a URL of several hosts has it."""
        url = make_url(self.url)
        return f"{url.host}:{url.port}"


@contextmanager
def running_group(
    *, command: Sequence[str], data: str, durable: bool, multi_primary: bool
) -> Iterator[dict[str, str]]:
    """Run three servers as one group; stop them in the end.

    Args:
        command: a program's command.
        data: the data folder to copy, three times.
        durable: see `Product.settings`.
        multi_primary: whether every member takes writes, and not one.

    Yields:
        Each member's URL, as ``url0`` and so on, and its process, as ``pid0`` and so on.

    Raises:
        SourceFailedError: a server does not start, or they form no group.
    """
    say("starting a group of three MySQL servers (about half a minute) ...")
    name, ports = str(uuid4()), [free_port() for _ in range(NODES)]
    with ExitStack() as stack:
        report: dict[str, str] = {}
        for number in range(NODES):
            more = _options(name, ports, number, multi_primary=multi_primary)
            server = running_process(
                product=MYSQL.name, command=command, data=data, durable=durable, more=more
            )
            started = stack.enter_context(server)
            report[f"url{number}"] = started["url"]
            report[f"pid{number}"] = _pid(Path(started["data_folder"]))
        _join_all([report[f"url{number}"] for number in range(NODES)])
        yield report


def nodes_of(report: dict[str, str]) -> list[Node]:
    """Read what `running_group` yields."""
    return [Node(report[f"url{n}"], int(report[f"pid{n}"])) for n in range(NODES)]


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Execute one statement on one member, and give its rows, if it has any."""
    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"))
    try:
        with engine.connect() as connection:
            return _rows(connection, statement)
    finally:
        engine.dispose()


def catch_up(nodes: Sequence[Node]) -> None:
    """Wait until each member has applied what the first one has."""
    done = ask(nodes[0].url, "SELECT @@GLOBAL.gtid_executed")[0][0]
    for node in nodes:
        statement = f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{done}', {_ONLINE_SECONDS})"
        if ask(node.url, statement) != [(0,)]:
            raise SourceFailedError(f"{node.address} did not catch up within {_ONLINE_SECONDS} s")


def _rows(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    result = connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
    return [tuple(row) for row in result] if result.returns_rows else []


def _options(name: str, ports: Sequence[int], number: int, *, multi_primary: bool) -> list[str]:
    """List the options that make a server a member, as the manual has them."""
    seeds = ",".join(f"{HOST}:{port}" for port in ports)
    single, checked = ("OFF", "ON") if multi_primary else ("ON", "OFF")
    return [
        f"--server-id={number + 1}",
        "--log-bin=binlog",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        f"--report-host={HOST}",
        "--innodb-buffer-pool-size=64M",
        "--plugin-load-add=group_replication.so",
        f"--group-replication-group-name={name}",
        "--group-replication-start-on-boot=OFF",
        f"--group-replication-local-address={HOST}:{ports[number]}",
        f"--group-replication-group-seeds={seeds}",
        f"--group-replication-ip-allowlist={HOST}",
        "--group-replication-message-cache-size=134217728",
        f"--group-replication-single-primary-mode={single}",
        f"--group-replication-enforce-update-everywhere-checks={checked}",
    ]


def _pid(data: Path) -> str:
    return (data.parent / "pid").read_text(encoding="utf-8").strip()


def _join_all(urls: Sequence[str]) -> None:
    """Start the group on the first server, and join the others to it."""
    ask(urls[0], "SET GLOBAL group_replication_bootstrap_group = ON")
    ask(urls[0], "START GROUP_REPLICATION USER = 'root'")
    ask(urls[0], "SET GLOBAL group_replication_bootstrap_group = OFF")
    for url in urls[1:]:
        ask(url, "START GROUP_REPLICATION USER = 'root'")
    deadline = time.monotonic() + _ONLINE_SECONDS
    while any(_online(url) < len(urls) for url in urls):
        if time.monotonic() > deadline:
            raise SourceFailedError(f"the group was not whole within {_ONLINE_SECONDS} s")
        time.sleep(0.2)


def _online(url: str) -> int:
    """Count the members that are online in a server's view."""
    members = "performance_schema.replication_group_members"
    return int(ask(url, f"SELECT COUNT(*) FROM {members} WHERE member_state = 'ONLINE'")[0][0])
