"""Sessions of an application whose time zone has summer time: a point in time stays what it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

import pytest
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from tests.persistence.stores import run as make_run
from tests.persistence.stores import thread as make_thread
from tests.support.databases import on_connection
from tests.support.factories import UserFactory
from tests.support.plans import analyze, explain, recorded
from tests.support.ways import ensure_schema, host_engine, sync_host_engine
from tests.support.zones import AUTUMN, BERLIN, SPRING, Clock, add_berlin, add_zone, use_zone
from threadlog import SyncCheckpointer
from threadlog.errors import RunAlreadyClaimedError
from threadlog.models import Run, Thread, cubepi_metadata
from threadlog.persistence import MetadataStore, ThreadTtl

_THREADS: Final = cubepi_metadata.tables["cubepi_threads"]
_RUNS: Final = cubepi_metadata.tables["cubepi_runs"]

CHANGES: Final = pytest.mark.parametrize("change", [SPRING, AUTUMN], ids=["spring", "autumn"])
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


@contextmanager
def _in_berlin(url: str) -> Iterator[Engine]:
    """Create an application's engine whose sessions are in Berlin's time zone, if it has one."""
    engine = sync_host_engine(url)
    if engine.name in {"mysql", "mariadb"}:
        with engine.begin() as connection:
            add_berlin(connection)
        engine.dispose()
    if engine.name != "sqlite":
        use_zone(engine, BERLIN)
    yield engine
    engine.dispose()


def _around(change: datetime) -> list[datetime]:
    """Return times of two hours before and after a change, ten minutes apart, and the change."""
    return [change + 10 * place * MINUTE for place in range(-12, 13)]


async def _store_threads(url: str, times: list[datetime]) -> list[str]:
    """Store a thread for each time at which it was last written to; in a session in UTC."""
    await ensure_schema(url)
    names = [f"{place:03}" for place in range(len(times))]
    rows = [
        {"thread_id": name, "created_at": time, "updated_at": time}
        for name, time in zip(names, times, strict=True)
    ]

    def store(connection: Any) -> None:
        if connection.dialect.name in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET time_zone = '+00:00'")
        connection.execute(insert(_THREADS), rows)

    await on_connection(url, store)
    return names


@CHANGES
def test_stale_runs_across_a_change_counts_the_time_that_passed(
    innodb_url: str, change: datetime
) -> None:
    with _in_berlin(innodb_url) as engine, SyncCheckpointer(engine=engine) as log:
        clock = Clock(engine)
        for shift in (-2, 30, 58, 62):  # before, in, at the end of, and after a double hour
            thread, claimed = f"t{shift}", change + shift * MINUTE
            clock.set(claimed)
            log.claim_run(thread, "r")
            for passed in (5, 65, 125):
                clock.set(claimed + passed * MINUTE)
                open_runs = [
                    [run.thread_id for run in log.stale_runs(older_than)]
                    for older_than in ((passed - 1) * MINUTE, (passed + 1) * MINUTE)
                ]
                assert open_runs == [[thread], []], (shift, passed)
                with pytest.raises(RunAlreadyClaimedError):
                    log.release_run(thread, "r", older_than=(passed + 1) * MINUTE)
            log.append(thread, [UserFactory(run_id="r")])  # a sign of life
            assert log.stale_runs(MINUTE) == []
            clock.set(claimed + 130 * MINUTE)
            log.release_run(thread, "r", older_than=5 * MINUTE)


@CHANGES
def test_times_that_are_written_around_a_change_are_read_as_they_were(
    innodb_url: str, change: datetime
) -> None:
    with _in_berlin(innodb_url) as engine, SyncCheckpointer(engine=engine) as log:
        clock = Clock(engine)
        for time in _around(change):
            clock.set(time)
            log.claim_run("t", f"{time}")
            log.append("t", [UserFactory()])
            log.mark_run_complete("t", f"{time}")
            log.save_extra(f"{time}", {"a": 1})
            log.save_extra(f"{time}", {"a": 2})
        assert [each.created_at for each in log.read("t")] == _around(change)
        runs = log.runs("t")
        assert [run.claimed_at for run in runs] == _around(change)
        assert [run.completed_at for run in runs] == _around(change)
        threads = [thread for thread in log.list_threads() if thread.thread_id != "t"]
        assert [thread.created_at for thread in threads] == _around(change)
        assert [thread.updated_at for thread in threads] == _around(change)


@CHANGES
async def test_list_threads_by_recent_around_a_change_leaves_none_out(
    server_url: str, change: datetime
) -> None:
    names = await _store_threads(server_url, sorted([*_around(change), *_around(change)]))
    with _in_berlin(server_url) as engine, SyncCheckpointer(engine=engine) as log:
        found, page = [], log.list_threads(order="recent", limit=1)
        while page:
            found += page
            page = log.list_threads(order="recent", limit=1, after=page[-1])
        assert [thread.thread_id for thread in found] == names[::-1]
        assert found == log.list_threads(order="recent", limit=100)


_OPERATORS: Final = (lt, le, eq, ge, gt, ne)


@CHANGES
async def test_filter_with_an_aware_time_around_a_change_compares_points_in_time(
    database_url: str, change: datetime
) -> None:
    times = _around(change)
    names = await _store_threads(database_url, times)
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    with _in_berlin(database_url) as engine, Session(engine) as session:

        def found(condition: Any) -> list[str]:
            query = select(Thread.thread_id).where(condition).order_by(Thread.thread_id)
            return list(session.scalars(query))

        for time in times:
            given = time.astimezone(elsewhere)
            for compare in _OPERATORS:
                expected = [
                    name for name, at in zip(names, times, strict=True) if compare(at, time)
                ]
                assert found(compare(Thread.updated_at, given)) == expected, (compare, time)
                # Without an index.
                assert found(compare(Thread.created_at, given)) == expected, (compare, time)
                assert found(~compare(Thread.updated_at, given)) == sorted({*names} - {*expected})
            last = time + 30 * MINUTE
            expected = [n for n, at in zip(names, times, strict=True) if time <= at <= last]
            assert found(Thread.updated_at.between(given, last)) == expected, time


@pytest.mark.parametrize("time", ["0001-01-01", "1970-01-01", "9999-12-31"])
async def test_filter_with_an_aware_time_that_no_column_holds_compares_too(
    database_url: str, time: str
) -> None:
    given = datetime.fromisoformat(time).replace(tzinfo=UTC)
    (thread,) = await _store_threads(database_url, [AUTUMN])
    with _in_berlin(database_url) as engine, Session(engine) as session:
        for compare in _OPERATORS:
            condition: Any = compare(Thread.updated_at, given)
            found = session.scalars(select(Thread.thread_id).where(condition)).all()
            assert found == ([thread] if compare(AUTUMN, given) else []), compare


async def test_filter_with_an_aware_time_works_with_asynchronous_drivers(
    database_url: str,
) -> None:
    names = await _store_threads(database_url, _around(AUTUMN))
    engine = host_engine(database_url)
    async with AsyncSession(engine) as session:
        condition = Thread.updated_at.between(AUTUMN, AUTUMN + HOUR)
        query = select(Thread.thread_id, Thread.updated_at > AUTUMN).where(condition)
        rows = (await session.execute(query.order_by(Thread.thread_id))).all()
    await engine.dispose()
    assert rows == [(name, name != names[12]) for name in names[12:19]]


async def test_filter_with_an_aware_time_uses_the_index(server_url: str) -> None:
    times = [AUTUMN + place * MINUTE for place in range(-500, 500)]
    await _store_threads(server_url, times)
    with _in_berlin(server_url) as engine:
        with engine.begin() as connection:
            analyze(connection, "cubepi_threads")
        with recorded([engine]) as sent, Session(engine) as session:
            since = Thread.updated_at > AUTUMN + 480 * MINUTE
            assert len(session.scalars(select(Thread.thread_id).where(since)).all()) == 19
        with engine.connect() as connection:
            (plan,) = explain(connection, sent)
        assert [(step.key, step.whole) for step in plan.steps] == [
            ("ix_cubepi_threads_recent", False)
        ]


def test_values_of_an_application_are_stored_as_points_in_time(database_url: str) -> None:
    """In sessions in UTC: elsewhere MySQL's column has local times."""
    given = datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=2)))
    with SyncCheckpointer(database_url) as log:
        log.claim_run("t", "r")
        change = update(_RUNS).where(Run.thread_id == "t").values(claimed_at=given)
        with log.client.engine.begin() as connection:  # type: ignore[union-attr]  # its own
            connection.execute(change)
        assert [run.claimed_at for run in log.runs("t")] == [given]


def test_append_after_the_clock_was_set_back_touches_the_thread(innodb_url: str) -> None:
    """The server's own clock is in the second of the two equal hours."""
    now = datetime.now(UTC).replace(microsecond=0)
    zone = f"Test/{now.timestamp():.0f}"
    engine = sync_host_engine(innodb_url)
    with engine.begin() as connection:
        add_zone(connection, zone, [(now - timedelta(days=90), 1), (now - 10 * MINUTE, 0)])
    engine.dispose()
    use_zone(engine, zone)
    clock = Clock(engine)
    with SyncCheckpointer(engine=engine) as log:
        clock.set(now - 30 * MINUTE)
        log.save_extra("t", {"a": 1})
        assert [thread.updated_at for thread in log.list_threads()] == [now - 30 * MINUTE]
        clock.reset()
        log.append("t", [UserFactory()])
        assert [thread.updated_at >= now for thread in log.list_threads()] == [True]
    engine.dispose()


@CHANGES
async def test_metadata_store_across_a_change_expires_in_time(
    innodb_graph_url: str, change: datetime
) -> None:
    with _in_berlin(innodb_graph_url):  # adds the zone
        engine = host_engine(innodb_graph_url)
    use_zone(engine.sync_engine, BERLIN)
    clock = Clock(engine.sync_engine)
    clock.set(change - 2 * MINUTE)
    async with MetadataStore(engine=engine) as store:
        await make_thread(store, ttl=ThreadTtl(10))
        run_id = await make_run(store, await make_thread(store))
        expired, failed = [], []
        for passed in (5, 11, 70):
            clock.set(change + (passed - 2) * MINUTE)
            expired.append(len(await store.expire_threads()))
            rows = await store.fail_stale_runs(
                stale_after_seconds=600, exclude_run_ids=(), error="gone"
            )
            failed += [(str(row["run_id"]), row["updated_at"]) for row in rows]
    assert expired == [0, 1, 0]
    assert failed == [(run_id, change + 9 * MINUTE)]
    await engine.dispose()
