"""The ORM classes, as applications query them."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.support.databases import create_schema, on_connection
from tests.support.factories import (
    HitlAnswerRowFactory,
    MessageRowFactory,
    RunRowFactory,
    SchemaVersionRowFactory,
    ThreadRowFactory,
    UserFactory,
)
from threadlog import MESSAGE_CODEC, Checkpointer
from threadlog.models import (
    EXPECTED_SCHEMA_VERSION,
    PARTITION_COUNT,
    HitlAnswer,
    Message,
    Run,
    SchemaVersion,
    Thread,
    cubepi_metadata,
)


@pytest.fixture
def ready_url(database_url: str) -> str:
    """Return the URL of a database with the schema, on SQLite too."""
    if database_url.startswith("sqlite"):
        asyncio.run(on_connection(database_url, create_schema))
    return database_url


def in_session(url: str, work: Callable[[Session], None]) -> None:
    """Run work in an application's session and commit it."""

    def run(connection: Connection) -> None:
        with Session(connection) as session:
            work(session)
            session.commit()

    asyncio.run(on_connection(url, run))


def test_the_names_of_the_specification() -> None:
    assert (EXPECTED_SCHEMA_VERSION, PARTITION_COUNT) == (5, 64)
    assert set(cubepi_metadata.tables) == {
        "cubepi_threads",
        "cubepi_messages",
        "cubepi_runs",
        "cubepi_hitl_answers",
        "cubepi_schema_version",
    }
    assert Message.__table__.c.metadata is Message.metadata_.property.columns[0]


def test_factories_make_every_row(ready_url: str) -> None:
    """Each model is stored and read back, with the server's own defaults."""

    def work(session: Session) -> None:
        session.add(ThreadRowFactory.build(thread_id="parent", extra={"a": [1]}))
        session.flush()
        # Threads first: on PostgreSQL what belongs to them has a foreign key.
        session.add(
            ThreadRowFactory.build(thread_id="t", parent_thread_id="parent", forked_at_seq=3)
        )
        session.flush()
        rows = [
            MessageRowFactory.build(thread_id="t", metadata_={"user": "u1"}),
            RunRowFactory.build(thread_id="t", run_id="r" * 255),
            HitlAnswerRowFactory.build(thread_id="t", answer={"ok": True}),
            SchemaVersionRowFactory.build(version=4),
        ]
        session.add_all(rows)
        session.flush()
        session.expire_all()
        thread = session.get_one(Thread, "t")
        assert (thread.parent_thread_id, thread.extra) == ("parent", {})
        assert thread.pending_request is None
        assert isinstance(thread.created_at, datetime)
        assert thread.updated_at == thread.created_at
        assert session.get_one(Message, ("t", 1)).payload == b"\x80"
        run = session.get_one(Run, ("t", "r" * 255))
        assert run.completed_at is None
        assert isinstance(run.claimed_at, datetime)
        (answer,) = session.scalars(select(HitlAnswer))
        assert answer.answer == {"ok": True}
        assert {*session.scalars(select(SchemaVersion.version))} == {4, 5}

    in_session(ready_url, work)


async def test_messages_are_found_by_their_metadata(
    checkpointer: Checkpointer, database_url: str
) -> None:
    for number in range(6):
        metadata = {"user": f"u{number % 2}", "n": number, "deep": {"x y": [number]}}
        await checkpointer.append(f"t{number % 3}", [UserFactory(metadata=metadata)])

    def query(connection: Connection) -> list[list[object]]:
        with Session(connection) as session:
            row = session.get_one(Message, ("t0", 2))
            assert repr(row) == "Message('t0', 2)"
            assert MESSAGE_CODEC.from_row(row).metadata == {**row.metadata_, "n": 3}
            by_user = select(Message).where(Message.metadata_["user"].as_string() == "u1")
            by_number = select(Message).where(Message.metadata_["n"].as_integer() > 3)
            deep = select(Message).where(Message.metadata_[("deep", "x y", 0)].as_integer() == 2)
            return [
                [message.metadata_["n"] for message in session.scalars(statement)]
                for statement in (by_user, by_number, deep)
            ]

    found = await on_connection(database_url, query)
    assert [sorted(numbers, key=str) for numbers in found] == [[1, 3, 5], [4, 5], [2]]


async def test_threads_are_found_by_extra_and_counted_by_role(
    checkpointer: Checkpointer, database_url: str
) -> None:
    await checkpointer.save_extra("a", {"tenant": "x"})
    await checkpointer.append("a", UserFactory.build_batch(3))
    await checkpointer.save_extra("b", {"tenant": "y"})

    def query(connection: Connection) -> tuple[list[str], list[tuple[str, int]]]:
        with Session(connection) as session:
            tenants = session.scalars(
                select(Thread.thread_id).where(Thread.extra["tenant"].as_string() == "x")
            ).all()
            roles = session.execute(select(Message.role, func.count()).group_by(Message.role)).all()
            return list(tenants), [(role, count) for role, count in roles]

    assert await on_connection(database_url, query) == (["a"], [("user", 3)])


def test_identifiers_differ_by_every_byte(ready_url: str) -> None:

    def work(session: Session) -> None:
        names = ("R1", "r1", "re", "ré")
        session.add_all(ThreadRowFactory.build(thread_id=name, run_id=name) for name in names)
        session.add(ThreadRowFactory.build(thread_id="t"))
        session.flush()
        for name in names:
            session.add(RunRowFactory.build(thread_id="t", run_id=name))
            session.add(HitlAnswerRowFactory.build(thread_id="t", run_id=name, question_id=name))
            session.add(MessageRowFactory.build(thread_id=name, run_id=name))
        session.flush()
        for column in (Thread.run_id, Run.run_id, HitlAnswer.question_id, Message.run_id):
            found = session.scalars(select(column).where(column == "r1")).all()
            assert found == ["r1"]

    in_session(ready_url, work)


def test_a_parent_must_exist(ready_url: str) -> None:
    if ready_url.startswith("sqlite"):
        keys = asyncio.run(
            on_connection(ready_url, lambda c: inspect(c).get_foreign_keys("cubepi_threads"))
        )
        assert [key["constrained_columns"] for key in keys] == [["parent_thread_id"]]
        return
    with pytest.raises(IntegrityError):
        in_session(
            ready_url,
            lambda session: session.add(ThreadRowFactory.build(parent_thread_id="nobody")),
        )
