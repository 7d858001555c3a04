"""How the command line is started: its version, and packages that are missing."""

import subprocess
import sys

import pytest


@pytest.mark.processes
def test_the_version_is_shown() -> None:
    command = [sys.executable, "-m", "threadlog", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "threadlog 0.1.0\n")


@pytest.mark.parametrize("package", ["typer", "rich"])
@pytest.mark.processes
def test_a_missing_package_is_named(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from threadlog.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'threadlog[cli]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.processes
def test_importing_the_entry_point_loads_neither_typer_nor_rich() -> None:
    """The packages are loaded when the command runs."""
    modules = (
        "threadlog, threadlog.__main__, threadlog.importing.import_log, threadlog.schema.check"
    )
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"typer", "rich"}.isdisjoint(done.stdout.split())
