"""The plugin for Alembic, and the names that it gives migrations."""

import subprocess
import sys

import pytest
from alembic.operations import Operations

import threadlog.migrations.plugin  # noqa: F401 - registers the directives
from threadlog.errors import (
    ConfigurationError,
    ThreadlogError,
)


def run_python(code: str) -> str:
    """Run code in a new interpreter; return its output."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.processes
def test_alembic_knows_the_plugin() -> None:
    code = (
        "import importlib, alembic.op as op, threadlog.migrations.plugin as plugin\n"
        "from alembic.runtime.plugins import _all_plugins\n"
        "importlib.import_module('threadlog.migrations.plugin')\n"
        "print('threadlog' in _all_plugins, plugin.NAME, op.create_threadlog_schema.__name__)"
    )
    assert run_python(code).split() == ["True", "threadlog", "create_threadlog_schema"]


@pytest.mark.processes
def test_an_alembic_without_plugins_is_refused_by_name() -> None:
    code = (
        "import sys, alembic, alembic.op as op\n"
        "sys.modules['alembic.runtime.plugins'] = None\n"
        "try:\n"
        "    import threadlog.migrations.plugin\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "import threadlog.migrations.directives\n"
        "print(op.upgrade_threadlog_schema.__name__)"
    )
    refused, directive = run_python(code).splitlines()
    assert refused.startswith("ConfigurationError threadlog's plugin needs Alembic 1.18 or later")
    assert "threadlog.migrations.directives" in refused
    assert directive == "upgrade_threadlog_schema"
    assert issubclass(ConfigurationError, ThreadlogError)


def test_the_directives_are_documented() -> None:
    names = [name for name in vars(Operations) if "threadlog" in name]
    assert len(names) == 22
    for name in names:
        word = "column" if "column" in name else "version"
        assert word in str(getattr(Operations, name).__doc__)
