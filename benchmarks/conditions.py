"""The conditions of a run of the benchmark."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from sqlalchemy import Connection, text

from benchmarks.peers.contender import CONNECTIONS
from tests.support.databases import on_connection

_PACKAGES: Final = (
    "threadlog",
    "cubeloop",
    "aiomysql",
    "PyMySQL",
    "asyncmy",
    "openai-agents",
    "SQLAlchemy",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
)
_VARIABLES: Final = (
    "version",
    "innodb_flush_log_at_trx_commit",
    "sync_binlog",
    "log_bin",
    "innodb_buffer_pool_size",
)
_DURABLE: Final = {"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1", "log_bin": "1"}


async def conditions(url: str, *, command: str, rounds: int) -> dict[str, Any]:
    """Return the settings of the server, the machine and the packages.

    Args:
        url: a database of the server.
        command: what the benchmark was started with.
        rounds: how often each contender had its turn.
    """
    server = await on_connection(url, _variables)
    return {
        "command": command,
        "rounds": rounds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "connections": CONNECTIONS,
        "server": server,
        "durable": is_durable(server),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def is_durable(server: Mapping[str, str]) -> bool:
    """Return True if a commit waits for the disk and for the binary log."""
    return _DURABLE.items() <= server.items()


def _variables(connection: Connection) -> dict[str, str]:
    return {
        name: str(connection.execute(text(f"SELECT @@{name}")).scalar_one()) for name in _VARIABLES
    }
