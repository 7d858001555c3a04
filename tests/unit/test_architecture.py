"""The layers, what an import costs, and what a wheel holds."""

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FOLDERS = {
    "models": "threadlog.models",
    "repositories": "threadlog.repositories",
    "migrations": "threadlog.migrations",
    "app": "threadlog",
}

LEAVES = {"encryption", "errors", "events", "messages"}
"""Modules that every package may import."""

STATEMENTS = {"repositories", "models"}
VALUES = {"encoding", "databases"} | STATEMENTS
TRANSACTIONS = {"runtime"} | VALUES

MAY_IMPORT = {
    "models": set[str](),
    "migrations": {"models"},
    "repositories": {"models"},
    "encoding": STATEMENTS,
    "databases": STATEMENTS,
    "runtime": VALUES,
    "schema": TRANSACTIONS - {"encoding"},
    "log": TRANSACTIONS - {"databases"},
    "graph": TRANSACTIONS | {"schema"},
    "langgraph": TRANSACTIONS | {"graph"},
    "testing": {"databases", "models"},
    "pytest_plugin": {"testing", "threadlog", "langgraph"},
    "persistence": TRANSACTIONS | {"graph", "langgraph"},
    "copying": TRANSACTIONS | {"log", "schema"},
    "erasing": TRANSACTIONS | {"log", "schema"},
    "scoped_client": TRANSACTIONS | {"log"},
    "exporting": TRANSACTIONS | {"copying", "formats", "log", "schema"},
    "checkpointer": TRANSACTIONS | {"erasing", "exporting", "log", "schema", "scoped_client"},
    "sync_checkpointer": TRANSACTIONS | {"erasing", "exporting", "log", "schema", "scoped_client"},
    "formats": {"encoding"},
    "importing": TRANSACTIONS | {"log", "checkpointer", "copying", "exporting", "formats"},
    "migrating": {"schema"},
    "database": TRANSACTIONS
    | {"checkpointer", "sync_checkpointer", "graph", "langgraph", "schema"},
    "observing": {"runtime"},
    "otel": {"observing"},
    "threadlog": {
        "observing",
        "checkpointer",
        "sync_checkpointer",
        "database",
        "erasing",
        "log",
        "databases",
    },
    "cubeloop": {"threadlog", "log"},
    "cubepi": {"threadlog", "log"},
    "skeino": {"graph", "langgraph", "persistence"},
    "cli": TRANSACTIONS
    | {"checkpointer", "copying", "erasing", "exporting", "formats", "graph", "importing"}
    | {"log", "schema"},
    "__main__": {"cli"},
}
"""The packages that a package may import: docs/architecture.md draws them."""


@cache
def modules() -> dict[str, Path]:
    """Return each source file by the name of its module."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def package_of(module: str) -> str:
    """Return the package of a module: the first name below ``threadlog``."""
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of threadlog that a file imports, wherever in the file."""
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from threadlog import x" may name a module as well as a thing in it.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "threadlog":
                yield name if name in known else name.rpartition(".")[0]


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_arrows(module: str) -> None:
    package = package_of(module)
    allowed = {package, *LEAVES, *MAY_IMPORT.get(package, set())}
    for name in imports(modules()[module]):
        assert package_of(name) in allowed, f"{module} imports {name}"


def test_arrows_have_no_cycle() -> None:
    assert tuple(TopologicalSorter(MAY_IMPORT).static_order())


def test_arrows_between_all_packages_are_in_the_table() -> None:
    assert {package_of(module) for module in modules()} - LEAVES == set(MAY_IMPORT)


def test_an_arrow_in_the_wrong_direction_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from threadlog.log import append\n", encoding="utf-8")
    assert [package_of(name) for name in imports(wrong)] == ["log"]
    assert "log" not in MAY_IMPORT["runtime"]


def test_repositories_name_no_dialect() -> None:
    names = {"mysql", "mariadb", "postgresql", "sqlite"}
    for module, path in modules().items():
        if package_of(module) == "repositories" and ".catalog" not in module:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert names.isdisjoint(texts), module


@pytest.mark.parametrize("package", ["threadlog", "threadlog.models", "threadlog.repositories"])
@pytest.mark.processes
def test_importing_loads_no_driver_and_no_tool(package: str) -> None:
    """An install without extras can import the package."""
    code = f"import sys, {package}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "sqlalchemy" in loaded
    unwanted = {"asyncmy", "aiomysql", "pymysql", "aiosqlite", "alembic", "typer", "rich"}
    unwanted |= {"langgraph", "langchain_core", "pydantic_settings", "skeino", "fastapi"}
    unwanted |= {"opentelemetry", "factory", "pytest", "cryptography"}
    assert unwanted.isdisjoint(loaded)


@pytest.mark.processes
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in [*FOLDERS, "pyproject.toml", "README.md", "LICENSE"]:
        place = ROOT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, source / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("threadlog-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "pytest_threadlog",
        "threadlog",
    }
    assert {
        "pytest_threadlog/__init__.py",
        "threadlog/py.typed",
        "threadlog/models/thread.py",
        "threadlog/repositories/log/thread.py",
        "threadlog/models/dialects/time.py",
        "threadlog/langgraph/saver.py",
        "threadlog/persistence/registry.py",
        "threadlog/migrations/alembic/env.py",
        "threadlog/migrations/alembic/script.py.mako",
    } <= set(names)
