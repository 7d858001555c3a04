"""How many functions and files of threadlog one warm call passes through, at most.

Each step costs a reader time and an append processor time. ``python -m benchmarks.call_path
--list`` prints the functions. Lower a bound when a way gets shorter; raise one only with a reason.
"""

from typing import Final

import pytest
from sqlalchemy.dialects import mysql

from benchmarks.call_path import Paths, graph_paths, log_paths

BOUNDS: Final = {  # functions, files
    "append": (40, 10),
    "load": (24, 9),
    "aput": (45, 11),
    "aput_writes": (35, 10),
    "aget_tuple": (32, 10),
}

# These lock the thread with a statement of its own before they insert, and check JSON themselves.
LONGER: Final = {"append": (56, 13), "aput": (45, 12)}
# SQLAlchemy 2.0 compiles ON DUPLICATE KEY UPDATE each time, and calls the compiler of utc_now().
COMPILED: Final = {} if mysql.Insert.inherit_cache else {"aput": (45, 12)}
BOUNDS_OF: Final = {
    "sqlite": BOUNDS | LONGER,
    "mysql": BOUNDS | COMPILED,
    "mariadb": BOUNDS | LONGER,
    "postgres": BOUNDS | LONGER,
}


async def test_log_calls_stay_within_bounds(database_name: str, database_url: str) -> None:
    check(database_name, await log_paths(database_url))


async def test_graph_calls_stay_within_bounds(database_name: str, graph_url: str) -> None:
    check(database_name, await graph_paths(graph_url))


def check(database_name: str, paths: Paths) -> None:
    bounds = BOUNDS_OF[database_name]
    for name, path in paths.items():
        functions, _, files = path.size
        if functions > bounds[name][0] or files > bounds[name][1]:
            entered = "\n".join(f"{f.file}:{f.line} {f.name}" for f in path.entered)
            pytest.fail(f"{name}: {functions} functions in {files} files\n{entered}")
