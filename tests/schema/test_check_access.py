"""The check of what an account may do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from tests.support.databases import execute
from threadlog import Checkpointer
from threadlog.models import cubepi_metadata
from threadlog.schema.check import CheckResult, check_database

Grant = Callable[..., Awaitable[str]]


async def access(url: str) -> list[CheckResult]:
    """Return the results of the check, after checking that no other one has found a fault."""
    results = await check_database(url)
    assert {each.status for each in results if each.check != "access"} == {"ok"}
    return [each for each in results if each.check == "access"]


@pytest.fixture
async def grant(server_url: str) -> AsyncIterator[Grant]:
    """Yield a function that grants rights to an account, and returns its URL."""
    name, password = f"tl_{uuid4().hex[:12]}", uuid4().hex
    account, create, drop = f"'{name}'@'%'", "IDENTIFIED BY", "DROP USER {0}"
    if server_url.startswith("postgresql"):
        account, create, drop = name, "PASSWORD", "DROP OWNED BY {0}; DROP USER {0}"
    await execute(server_url, f"CREATE USER {account} {create} '{password}'")

    async def give(rights: str, *tables: str) -> str:
        grants = [f"GRANT {rights} ON {each} TO {account}" for each in tables]
        await execute(server_url, *grants)
        url = make_url(server_url).set(username=name, password=password)
        return url.render_as_string(hide_password=False)

    yield give
    await execute(server_url, *drop.format(account).split("; "))


async def test_the_owner_may_do_everything(database_url: str) -> None:
    async with Checkpointer(database_url):
        pass
    result, *control = await access(database_url)
    assert {each.status for each in control} <= {"ok"}
    assert (result.status, result.remedy) == ("ok", "")
    assert result.message == "All tables can be read and written by the account."


async def test_an_account_that_may_only_read_is_a_warning_and_its_remedy_mends_it(
    server_url: str, grant: Grant
) -> None:
    url = await grant("SELECT", *cubepi_metadata.tables)
    (result,) = await access(url)
    assert result.status == "warning"
    assert (
        result.message
        == "All tables can be read, but not written by the account: every write fails."
    )
    await execute(server_url, *result.remedy.split("; "))
    assert [each.status for each in await access(url)] == ["ok"]


async def test_a_right_that_is_missing_on_one_table_is_an_error(
    server_url: str, grant: Grant
) -> None:
    url = await grant("SELECT", *cubepi_metadata.tables)
    await grant("INSERT, UPDATE", "cubepi_threads", "cubepi_messages", "cubepi_runs")
    await grant("DELETE", "cubepi_threads", "cubepi_messages")
    await grant("INSERT, UPDATE, DELETE", "cubepi_hitl_answers")
    (result,) = await access(url)
    assert result.status == "error"
    assert result.message == "The account has no right to DELETE on cubepi_runs."
    await execute(server_url, result.remedy)
    assert [each.status for each in await access(url)] == ["ok"]


async def test_a_table_that_the_account_may_only_delete_from_is_an_error(
    innodb_url: str, grant: Grant
) -> None:
    """MySQL's information_schema has no columns of the table for such an account."""
    url = await grant("SELECT", *cubepi_metadata.tables.keys() - {"cubepi_hitl_answers"})
    await grant("DELETE", "cubepi_hitl_answers")
    found = {each.message: each.status for each in await access(url)}
    missing = "The account has no right to SELECT, INSERT, UPDATE on cubepi_hitl_answers."
    assert found[missing] == "error"


async def test_a_server_that_is_read_only_is_a_warning(postgres_url: str) -> None:
    url = make_url(postgres_url).update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    (result,) = await access(url.render_as_string(hide_password=False))
    assert result.status == "warning"
    assert "read-only" in result.message


async def test_an_sqlite_file_that_is_read_only_is_a_warning(sqlite_url: str) -> None:
    async with Checkpointer(sqlite_url) as checkpointer:
        url = sqlite_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
        result, control = await access(url)
        assert await checkpointer.list_threads() == []
    assert (result.status, result.remedy) == ("warning", "")
    assert "but not written" in result.message
    assert "All tables of thread control can be read, but not written" in control.message
