"""How many functions and files of threadlog one warm call passes through, at most.

Each step costs a reader time and an append processor time. ``python -m benchmarks.call_path
--list`` prints the functions. Lower a bound when a way gets shorter; raise one only with a reason.
"""

from typing import Final

import pytest

from benchmarks.call_path import Paths, graph_paths, log_paths

# Goals: append 40 functions in 10 files, load 25 in 9, aput 45 in 11, aput_writes 35 in 10,
# aget_tuple 32 in 10.
BOUNDS: Final = {  # functions, files
    "append": (70, 16),
    "load": (41, 13),
    "aput": (83, 21),
    "aput_writes": (66, 18),
    "aget_tuple": (63, 15),
}

# These lock the thread with a statement of its own before they insert, and check JSON themselves.
LONGER: Final = {"append": (77, 18), "aput": (84, 21)}
BOUNDS_OF: Final = {
    "sqlite": BOUNDS,
    "mysql": BOUNDS,
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
        found = path.without_inner()
        functions, _, files = found.size
        if functions > bounds[name][0] or files > bounds[name][1]:
            entered = "\n".join(f"{f.file}:{f.line} {f.name}" for f in found.entered)
            pytest.fail(f"{name}: {functions} functions in {files} files\n{entered}")
