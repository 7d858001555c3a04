"""Tests that threadlog's checkpointer for a framework uses the framework's own classes."""

import inspect
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import metadata
from typing import Any

import msgpack
import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.frameworks.framework import Framework
from tests.frameworks.messages import conversation, request
from tests.support.databases import execute, on_connection
from tests.support.factories import UserFactory
from threadlog import errors

Provoke = Callable[[Framework, Any], Awaitable[object]]


async def claim_claimed(framework: Framework, checkpointer: Any) -> None:
    """Claim an open run."""
    await checkpointer.claim_run("t", "open")


async def claim_completed(framework: Framework, checkpointer: Any) -> None:
    """Claim a completed run."""
    await checkpointer.claim_run("t", "done")


async def append_to_completed(framework: Framework, checkpointer: Any) -> None:
    """Add to a completed run."""
    await checkpointer.append("t", conversation(framework, "done"))


async def complete_unclaimed(framework: Framework, checkpointer: Any) -> None:
    """Complete a run that nobody claimed."""
    await checkpointer.mark_run_complete("t", "unknown")


async def snapshot_open(framework: Framework, checkpointer: Any) -> None:
    """Read up to a run that is open."""
    await checkpointer.snapshot("t", after_run_id="open")


async def fork_open(framework: Framework, checkpointer: Any) -> None:
    """Fork after a run that is open."""
    await checkpointer.fork("t", "new", after_run_id="open")


async def snapshot_missing(framework: Framework, checkpointer: Any) -> None:
    """Read a thread that is missing."""
    await checkpointer.snapshot("missing", after_run_id="done")


async def fork_missing(framework: Framework, checkpointer: Any) -> None:
    """Fork a thread that is missing."""
    await checkpointer.fork("missing", "new", after_run_id="done")


async def fork_to_existing(framework: Framework, checkpointer: Any) -> None:
    """Fork to a thread that exists."""
    await checkpointer.fork("t", "t", after_run_id="done")


PROVOKED: list[tuple[str, Provoke]] = [
    ("RunAlreadyClaimedError", claim_claimed),
    ("RunAlreadyCompletedError", claim_completed),
    ("RunAlreadyCompletedError", append_to_completed),
    ("RunNotClaimedError", complete_unclaimed),
    ("RunNotCompletedError", snapshot_open),
    ("RunNotCompletedError", fork_open),
    ("ThreadNotFoundError", snapshot_missing),
    ("ThreadNotFoundError", fork_missing),
    ("ThreadAlreadyExistsError", fork_to_existing),
]
# Each by a test of its own below; the last is raised by agents, not by checkpointers.
PROVOKED_ELSEWHERE = {
    "SchemaUninitialized",
    "SchemaMismatch",
    "CheckpointerLockTimeoutError",
    "CheckpointCorruptionError",
    "CompletionMarkerFailedError",
}
BASES = {"SchemaError", "CheckpointerError"}


@pytest.fixture
async def log(framework: Framework, checkpointer: Any) -> Any:
    """Return a checkpointer with a thread that has a completed run and an open one."""
    for run_id in ("done", "open"):
        await checkpointer.claim_run("t", run_id)
        await checkpointer.append("t", conversation(framework, run_id))
    await checkpointer.mark_run_complete("t", "done")
    return checkpointer


def theirs(framework: Framework, name: str) -> Any:
    """Return one of the framework's exception classes by its name without the brand."""
    exceptions = framework.module("checkpointer.exceptions")
    return getattr(exceptions, name, None) or getattr(exceptions, f"{framework.brand}{name}")


def assert_both(framework: Framework, error: BaseException, name: str) -> None:
    """Assert that an error is of our class of this name and of the framework's."""
    ours = getattr(errors, name, None) or getattr(errors, f"Cubepi{name}")
    assert isinstance(error, ours)
    assert isinstance(error, theirs(framework, name))
    assert type(error).__name__ == ours.__name__


@pytest.mark.parametrize(
    ("name", "theirs", "url"),
    [
        ("Checkpointer", "MySQLCheckpointer", "sqlite:///nowhere"),
        ("MySQLCheckpointer", "MySQLCheckpointer", "mysql://localhost/nowhere"),
        ("PostgresCheckpointer", "PostgresCheckpointer", "postgresql://localhost/nowhere"),
    ],
)
def test_it_is_the_frameworks_checkpointer(
    framework: Framework, name: str, theirs: str, url: str
) -> None:
    protocol = framework.module("checkpointer").Checkpointer
    checkpointer = getattr(framework.client, name)(url)
    assert isinstance(checkpointer, protocol)
    own = getattr(framework.module("checkpointer"), theirs)
    methods = [method for method in vars(own) if not method.startswith("_")]
    for method in [*methods, *(["__init__"] if name == own.__name__ else [])]:
        wanted = inspect.signature(getattr(own, method)).parameters
        given = inspect.signature(getattr(type(checkpointer), method)).parameters
        assert list(wanted) == [n for n in given if n in wanted], method
        assert all(wanted[n].kind == given[n].kind for n in wanted), method
        required = {n for n in wanted if wanted[n].default is inspect.Parameter.empty}
        assert all(wanted[n].default == given[n].default for n in set(wanted) - required), method
        assert all(
            given[n].default is not inspect.Parameter.empty for n in set(given) - set(wanted)
        )


async def test_loads_give_the_frameworks_classes(framework: Framework, checkpointer: Any) -> None:
    messages = conversation(framework, "r")
    asked = request(framework)
    await checkpointer.claim_run("t", "r")
    await checkpointer.append("t", messages)
    await checkpointer.mark_run_complete("t", "r")
    await checkpointer.save_pending_request("t", asked, run_id="r")
    await checkpointer.save_extra("t", {"a": 1})

    data = await checkpointer.load("t")
    assert data == framework.module("checkpointer").CheckpointData(messages, {"a": 1}, None)
    assert (await checkpointer.load("t", last=1)).messages == messages[-1:]
    assert [stored.message for stored in await checkpointer.read("t")] == messages
    assert [stored.message async for stored in checkpointer.stream("t")] == messages
    assert await checkpointer.snapshot("t", after_run_id="r") == messages
    assert await checkpointer.load_pending("t") == (asked, "r")
    assert await checkpointer.load_pending_request("t") == asked
    payload = (await checkpointer.load_pending_request("t")).payload
    assert type(payload) is framework.module("hitl").ApproveRequest


async def test_other_classes_are_refused(framework: Framework, checkpointer: Any) -> None:
    """Threadlog's own messages are told from the framework's."""
    with pytest.raises(errors.InvalidMessageError, match=rf"{framework.name}\.providers\.base"):
        await checkpointer.append("t", [UserFactory()])


@pytest.mark.parametrize(
    ("name", "provoke"), PROVOKED, ids=lambda value: getattr(value, "__name__", value)
)
async def test_errors_are_of_both_classes(
    framework: Framework, log: Any, name: str, provoke: Provoke
) -> None:
    before = [await log.load("t"), await log.runs("t"), await log.list_threads()]
    with pytest.raises(theirs(framework, name)) as caught:
        await provoke(framework, log)
    assert_both(framework, caught.value, name)
    assert isinstance(caught.value, theirs(framework, "CheckpointerError"))
    assert caught.value.thread_id in {"t", "missing"}
    assert [await log.load("t"), await log.runs("t"), await log.list_threads()] == before


async def test_errors_pass_between_processes(framework: Framework, log: Any) -> None:
    """An unpickled error has both classes and its attributes."""
    with pytest.raises(errors.RunAlreadyClaimedError) as caught:
        await log.claim_run("t", "open")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert type(again) is type(caught.value)
    assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))


def test_every_exception_of_the_framework_is_tested(framework: Framework) -> None:
    """None of a newer release is forgotten here."""
    named = {
        name.removeprefix(framework.brand)
        for name in vars(framework.module("checkpointer.exceptions"))
        if not name.startswith("_")
    }
    assert named == {name for name, _ in PROVOKED} | PROVOKED_ELSEWHERE | BASES


async def test_a_database_without_tables(framework: Framework, server_database: str) -> None:
    with pytest.raises(theirs(framework, "SchemaUninitialized")) as caught:
        async with framework.client.Checkpointer(server_database):
            pass
    assert_both(framework, caught.value, "SchemaUninitialized")
    assert isinstance(caught.value, theirs(framework, "SchemaError"))


async def test_another_schema_version(framework: Framework, database_url: str) -> None:
    async with framework.client.Checkpointer(database_url):
        pass
    await execute(database_url, "UPDATE cubepi_schema_version SET version = 4")
    with pytest.raises(theirs(framework, "SchemaMismatch")) as caught:
        async with framework.client.Checkpointer(database_url):
            pass
    assert_both(framework, caught.value, "SchemaMismatch")
    assert (caught.value.expected, caught.value.actual) == (5, 4)


async def test_a_corrupt_row(
    framework: Framework, log: Any, database_name: str, database_url: str
) -> None:
    await execute(database_url, "UPDATE cubepi_messages SET payload = 'x' WHERE seq = 2")
    with pytest.raises(theirs(framework, "CheckpointCorruptionError")) as caught:
        await log.load("t")
    assert_both(framework, caught.value, "CheckpointCorruptionError")
    error = caught.value
    assert (error.thread_id, error.backend) == ("t", database_name)
    assert error.row_ref == "cubepi_messages.seq=2"
    assert error.seq == 2
    assert error.__cause__ is not None


async def test_a_lock_timeout(framework: Framework, sqlite_url: str) -> None:
    async with framework.client.Checkpointer(f"{sqlite_url}?timeout=0.05") as checkpointer:
        engine = create_async_engine(sqlite_url.replace("sqlite:", "sqlite+aiosqlite:"))
        async with engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            with pytest.raises(theirs(framework, "CheckpointerLockTimeoutError")) as caught:
                await checkpointer.claim_run("t", "r")
            await connection.exec_driver_sql("ROLLBACK")
        await engine.dispose()
    assert_both(framework, caught.value, "CheckpointerLockTimeoutError")


async def rewrite(url: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every stored message to one that another release would have stored."""
    select = text("SELECT seq, payload FROM cubepi_messages")
    update = text("UPDATE cubepi_messages SET payload = :payload WHERE seq = :seq")

    def run(connection: Connection) -> None:
        for seq, payload in connection.execute(select).all():
            fields = msgpack.unpackb(payload)
            change(fields)
            connection.execute(update, {"seq": seq, "payload": msgpack.packb(fields)})

    await on_connection(url, run)


async def test_fields_of_a_newer_release(
    framework: Framework, checkpointer: Any, database_url: str
) -> None:
    """A message with fields that this release does not know loads without them."""
    messages = conversation(framework)
    await checkpointer.append("t", messages)
    newer = {"shiny": {"a": [1]}} | ({} if framework.knows_message_ids else {"id": "m1"})
    await rewrite(database_url, lambda fields: fields.update(newer))
    assert (await checkpointer.load("t")).messages == messages


async def test_messages_of_an_older_release(
    framework: Framework, checkpointer: Any, database_url: str
) -> None:
    """A message without an id is given none: it must stay the same message."""
    messages = conversation(framework)
    for message in messages:
        assert getattr(message, "id", "") == ""
    await checkpointer.append("t", messages)
    await rewrite(database_url, lambda fields: fields.pop("id", None))
    loaded = (await checkpointer.load("t")).messages
    assert loaded == messages
    assert {getattr(message, "id", "") for message in loaded} == {""}


class Receipt(BaseModel):
    """A tool's result beside its text."""

    number: int
    items: list["Receipt"] = []


async def test_details_may_be_models(framework: Framework, checkpointer: Any) -> None:
    """Pydantic models in a tool's details are stored with all their fields."""
    result = conversation(framework)[2]
    result.details = {"receipt": Receipt(number=1, items=[Receipt(number=2)])}
    await checkpointer.append("t", [result])
    [loaded] = (await checkpointer.load("t")).messages
    assert loaded.details == {"receipt": {"number": 1, "items": [{"number": 2, "items": []}]}}


def run_python(code: str) -> str:
    """Run code in a new interpreter; return its output."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_threadlog_alone_imports_no_framework(framework: Framework) -> None:
    """Only the framework's checkpointer imports the framework."""
    code = (
        "import sys, threadlog, threadlog.checkpointer\n"
        f"print({framework.name!r} in sys.modules)\n"
        f"import threadlog.{framework.name}\n"
        f"print({framework.name!r} in sys.modules)\n"
        "print(sorted({'cubeloop', 'cubepi', 'aiomysql', 'asyncpg'} & set(sys.modules)))\n"
    )
    assert run_python(code).splitlines() == ["False", "True", str([framework.name])]


def test_a_missing_framework_is_named(framework: Framework) -> None:
    assert framework.name in metadata("threadlog").get_all("Provides-Extra", [])
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {framework.name!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from threadlog.errors import MissingExtraError\n"
        "try:\n"
        f"    import threadlog.{framework.name}\n"
        "except ImportError as error:\n"
        "    print(type(error) is MissingExtraError, error.package, error)\n"
    )
    assert run_python(code).strip() == (
        f"True {framework.name} The package '{framework.name}' is not installed. "
        f"Run: pip install 'threadlog[{framework.name}]'"
    )
