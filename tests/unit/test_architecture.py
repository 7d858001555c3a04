"""The layers, what an import costs, and what a wheel holds."""

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FOLDERS = {
    "models": "threadlog.models",
    "repositories": "threadlog.repositories",
    "migrations": "threadlog.migrations",
    "app": "threadlog",
}
LAYERS = ["threadlog.models", "threadlog.repositories", "threadlog.migrations", "threadlog"]
MAY_IMPORT = {
    "threadlog.models": set[str](),
    "threadlog.repositories": {"threadlog.models"},
    "threadlog.migrations": {"threadlog.models"},
    "threadlog": {"threadlog.models", "threadlog.repositories"},
}
LEAVES = {"threadlog.errors"}


def modules() -> Iterator[tuple[str, Path]]:
    """Give each source file with the layer it belongs to."""
    for folder, layer in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield layer, path


def imports(path: Path) -> Iterator[str]:
    """Give the modules of ours that a file imports anywhere but for annotations."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from threadlog import x" may name a module as well as a thing in it.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] == "threadlog")


def layer_of(name: str) -> str:
    """Give the layer that a module name belongs to."""
    return next(layer for layer in LAYERS if f"{name}.".startswith(f"{layer}."))


@pytest.mark.parametrize(("layer", "path"), list(modules()), ids=str)
def test_imports_follow_the_arrows(layer: str, path: Path) -> None:
    for name in imports(path):
        leaf = any(f"{name}.".startswith(f"{allowed}.") for allowed in LEAVES)
        assert leaf or layer_of(name) in {layer, *MAY_IMPORT[layer]}, f"{path} imports {name}"


def test_an_arrow_in_the_wrong_direction_is_seen(tmp_path: Path) -> None:
    """The check above can fail."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from threadlog.runtime.transactions import OwnedStore\n", encoding="utf-8")
    assert [layer_of(name) for name in imports(wrong)] == ["threadlog"]
    assert "threadlog" not in MAY_IMPORT["threadlog.models"]


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
    assert {top for top in tops if not top.endswith(".dist-info")} == {"threadlog"}
    assert {
        "threadlog/py.typed",
        "threadlog/models/thread.py",
        "threadlog/repositories/log/thread.py",
        "threadlog/models/dialects/time.py",
        "threadlog/langgraph/saver.py",
        "threadlog/persistence/registry.py",
        "threadlog/migrations/alembic/env.py",
        "threadlog/migrations/alembic/script.py.mako",
    } <= set(names)
