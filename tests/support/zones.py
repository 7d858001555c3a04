"""Time zones with summer time, for servers of tests, which have no tables of zones."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError

BERLIN: Final = "Europe/Berlin"

SPRING: Final = datetime(2026, 3, 29, 1, tzinfo=UTC)
"""Berlin's clock is set from 2:00 to 3:00."""

AUTUMN: Final = datetime(2026, 10, 25, 1, tzinfo=UTC)
"""Berlin's clock is set from 3:00 to 2:00."""

_YEARS: Final = range(2020, 2038)
_WINTER, _SUMMER = 0, 1


def add_berlin(connection: Connection) -> None:
    """Add Berlin's zone to MySQL or MariaDB, if missing."""
    changes = []
    for year in _YEARS:
        changes.append((_last_sunday(year, 3), _SUMMER))
        changes.append((_last_sunday(year, 10), _WINTER))
    add_zone(connection, BERLIN, changes)


def add_zone(connection: Connection, name: str, changes: Sequence[tuple[datetime, int]]) -> None:
    """Add a zone to MySQL or MariaDB, if missing: UTC+1, and UTC+2 in summer.

    Args:
        connection: a connection in a transaction.
        name: the zone's name.
        changes: the times at which a period begins: 1 for summer, 0 for winter.
    """
    run = connection.exec_driver_sql
    if run("SELECT 1 FROM mysql.time_zone_name WHERE name = %s", (name,)).first():
        return
    run("INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N')")
    zone = run("SELECT LAST_INSERT_ID()").scalar_one()
    run(
        "INSERT INTO mysql.time_zone_transition_type VALUES "
        f"({zone}, {_WINTER}, 3600, 0, 'CET'), ({zone}, {_SUMMER}, 7200, 1, 'CEST')"
    )
    rows = ", ".join(f"({zone}, {int(time.timestamp())}, {kind})" for time, kind in changes)
    run(f"INSERT INTO mysql.time_zone_transition VALUES {rows}")
    # Last, since a session may use the zone from then on.
    with suppress(IntegrityError):  # another process was first
        run("INSERT INTO mysql.time_zone_name VALUES (%s, %s)", (name, zone))


def _last_sunday(year: int, month: int) -> datetime:
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return last - timedelta(days=(last.weekday() + 1) % 7)


class Clock:
    """The clock of an engine's sessions on MySQL or MariaDB; the server's until it is set."""

    def __init__(self, engine: Engine) -> None:
        """Set the clock at the beginning of each of the engine's transactions."""
        self._seconds = "DEFAULT"
        event.listen(engine, "begin", self._begin)

    def set(self, time: datetime) -> None:
        """Stop the clock at `time`."""
        self._seconds = str(int(time.timestamp()))

    def reset(self) -> None:
        """Use the server's clock again."""
        self._seconds = "DEFAULT"

    def _begin(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET timestamp = {self._seconds}")


def use_zone(engine: Engine, name: str) -> None:
    """Set the time zone of an engine's sessions on a server."""

    @event.listens_for(engine, "connect")
    def _connected(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # every driver's
        # PostgreSQL would undo it together with the driver's transaction.
        cursor.execute(
            f"SET {'TIME ZONE' if engine.name == 'postgresql' else 'time_zone ='} '{name}'"
        )
        cursor.close()
        connection.commit()  # type: ignore[attr-defined]  # every driver's
