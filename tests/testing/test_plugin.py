"""The pytest plugin in a project of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import run_python
from tests.support.scripts.docs_page import blocks

IMPORTS = ("pytest", "threadlog.testing.factories", "pytest_asyncio.plugin", "aiosqlite")

PROJECT = """
import pytest
from threadlog.testing.factories import UserMessageFactory

asynchronous = {mark}

@asynchronous
@pytest.mark.parametrize("again", [False, True])
async def test_asynchronous(threadlog_checkpointer, again):
    await threadlog_checkpointer.append("t", [UserMessageFactory()])
    assert [stored.seq for stored in await threadlog_checkpointer.read("t")] == [1]

@pytest.mark.parametrize("again", [False, True])
def test_synchronous(threadlog_sync_checkpointer, again):
    threadlog_sync_checkpointer.append("t", [UserMessageFactory()])
    assert [stored.seq for stored in threadlog_sync_checkpointer.read("t")] == [1]
"""


@pytest.mark.parametrize(
    ("mode", "mark", "options"),
    [
        ("strict", "pytest.mark.asyncio", ()),
        ("auto", "lambda test: test", ()),
        ("strict", "pytest.mark.anyio", ("-p", "no:asyncio")),
    ],
    ids=["strict", "auto", "anyio"],
)
@pytest.mark.processes
def test_fixtures_work_in_each_mode_of_asyncio(
    mode: str, mark: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT.format(mark=mark), encoding="utf-8")
    asyncio_mode = () if options else ("-o", f"asyncio_mode={mode}")
    ran = run_python(
        *("-m", "pytest", "-q", *options, *asyncio_mode, "-k", "not trio", str(tmp_path)),
        cwd=tmp_path,
        imports=IMPORTS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


@pytest.mark.processes
def test_the_test_file_of_the_docs_passes(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "testing.md"
    shown = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.fragment]
    (tmp_path / "test_project.py").write_text(shown[0], encoding="utf-8")
    ran = run_python(
        *("-m", "pytest", "-q", "-o", "asyncio_mode=auto", str(tmp_path)),
        cwd=tmp_path,
        imports=IMPORTS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


@pytest.mark.processes
def test_the_plugin_that_is_not_used_loads_nothing() -> None:
    code = "import sys, pytest_threadlog; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pytest_threadlog" in loaded
    assert {"threadlog", "sqlalchemy", "langgraph", "factory"}.isdisjoint(loaded)


@pytest.mark.processes
def test_testing_loads_no_optional_part() -> None:
    code = "import sys, threadlog.testing; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "threadlog.testing" in loaded
    assert {"langgraph", "langchain_core", "factory", "pytest", "alembic"}.isdisjoint(loaded)
