"""The application project of the examples, run by Alembic's own command line."""

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.databases import ASYNCHRONOUS
from tests.support.processes import COMMAND_LINE, run_python
from tests.support.schemas import PARTITIONS, opens, run, statements_of, tables, version_rows
from tests.unit.test_architecture import ROOT

PROJECT = ROOT / "examples" / "host_migrations"


def driven(url: str) -> str:
    """Return a URL with an asynchronous driver, as the application's own engine has."""
    plain = make_url(url)
    driver = ASYNCHRONOUS[plain.get_backend_name()]
    return plain.set(drivername=driver).render_as_string(hide_password=False)


async def alembic(url: str, *arguments: str, project: Path = PROJECT, status: int = 0) -> str:
    """Run Alembic's command in a project; return its output, of both streams."""
    done = await asyncio.to_thread(
        run_python,
        *("-m", "alembic", *arguments),
        imports=[*COMMAND_LINE, "alembic.config", "threadlog.migrations"],
        cwd=project,
        environment={"SHOP_DATABASE_URL": driven(url), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def copied(folder: Path, *versions: str) -> Path:
    """Copy the project, with only some of its versions."""
    project = folder / "host"
    left_out = shutil.ignore_patterns("__pycache__", "*.db")
    shutil.copytree(PROJECT, project, ignore=left_out)
    for path in (project / "versions").glob("v*.py"):
        if path.stem not in versions:
            path.unlink()
    return project


@pytest.mark.processes
async def test_up_check_and_down(empty_url: str) -> None:
    for _ in range(2):
        await alembic(empty_url, "upgrade", "head")
        assert "No new upgrade operations detected" in await alembic(empty_url, "check")
        assert "orders" in await tables(empty_url)
        await opens(empty_url)
        await alembic(empty_url, "downgrade", "base")
        assert await tables(empty_url) == {"alembic_version"}


@pytest.mark.processes
async def test_the_url_may_be_an_argument(sqlite_url: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    await alembic(other, "-x", f"url={driven(sqlite_url)}", "upgrade", "head")
    await opens(sqlite_url)
    assert not (tmp_path / "other.db").exists()


@pytest.mark.processes
async def test_a_script_does_the_same(empty_url: str) -> None:
    script = await alembic(empty_url, "upgrade", "head", "--sql")
    assert await tables(empty_url) == set()
    await run(empty_url, *statements_of(script))
    assert "No new upgrade operations detected" in await alembic(empty_url, "check")
    await opens(empty_url)


@pytest.mark.processes
async def test_a_migration_that_broke_off_is_run_again(empty_url: str) -> None:
    """The application need not correct anything by hand."""
    await alembic(empty_url, "upgrade", "0001")
    script = statements_of(await alembic(empty_url, "upgrade", "0001:0002", "--sql"))
    await run(empty_url, *[made for made in script if made.startswith("CREATE")][:4])
    await alembic(empty_url, "upgrade", "head")
    assert "No new upgrade operations detected" in await alembic(empty_url, "check")
    await opens(empty_url)


async def test_changed_partitions_are_noticed_and_mended(
    innodb_database: str, tmp_path: Path
) -> None:
    project = copied(tmp_path, "v1_orders", "v2_threadlog", "v3_order_thread")
    await alembic(innodb_database, "upgrade", "head")
    await run(innodb_database, "ALTER TABLE cubepi_messages REMOVE PARTITIONING")
    told = await alembic(innodb_database, "check", status=255)
    assert f"('partition_table', 'cubepi_messages', '{PARTITIONS}')" in told
    await alembic(
        innodb_database, "revision", "--autogenerate", "-m", "partitions", project=project
    )
    (made,) = project.glob("versions/*_partitions.py")
    assert "threadlog" not in made.read_text(encoding="utf-8")
    await alembic(innodb_database, "upgrade", "head", project=project)
    assert "No new" in await alembic(innodb_database, "check", project=project)
    await alembic(innodb_database, "downgrade", "-1", project=project)
    told = await alembic(innodb_database, "check", project=project, status=255)
    assert "not up to date" in told


@pytest.mark.processes
async def test_autogenerate_gives_one_history(empty_url: str, tmp_path: Path) -> None:
    project = copied(tmp_path, "v1_orders")
    await alembic(empty_url, "upgrade", "head", project=project)
    await alembic(empty_url, "revision", "--autogenerate", "-m", "threadlog", project=project)
    (made,) = project.glob("versions/*_threadlog.py")
    code = made.read_text(encoding="utf-8")
    assert "import threadlog" not in code
    end = "    # ### end Alembic commands ###"
    code = code.replace(end, f"{end}\n    op.write_threadlog_version(version=5)", 1)
    made.write_text(code, encoding="utf-8")
    await alembic(empty_url, "upgrade", "head", project=project)
    assert "No new upgrade operations detected" in await alembic(
        empty_url, "check", project=project
    )
    assert await version_rows(empty_url) == [5]
    await opens(empty_url)
    await alembic(empty_url, "downgrade", "base", project=project)
    assert await tables(empty_url) == {"alembic_version"}
