"""Check and convert what several operations of a metadata store are given."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, get_args
from uuid import UUID

from threadlog.encoding.validation import (
    check_count,
    check_iterable,
    check_number,
    check_one_of,
    check_uuid,
    replace_unstorable,
)
from threadlog.errors import InvalidInputError
from threadlog.persistence.types import RunStatus

# 1,900 years: the end is still in the range of every database.
_MAX_MINUTES: Final = 10**9

# 317 years: the beginning is still in the range of every database.
_MAX_SECONDS: Final = 10**10


def check_minutes(minutes: object, name: str) -> None:
    """Check a time to live."""
    check_number(minutes, name, most=_MAX_MINUTES)


def check_run_status(status: object) -> None:
    """Check the status of a run."""
    check_one_of(status, "status_value", get_args(RunStatus))


def storable_error(error: object) -> str:
    """Return the error text of a run with U+FFFD for what not every database can store.

    A failure is recorded whatever characters its text has: a run that cannot be recorded
    would stay in flight, and its thread busy.

    Raises:
        InvalidInputError: it is not a string.
    """
    if not isinstance(error, str):
        raise InvalidInputError(f"error must be a string, not {type(error).__name__}.")
    return replace_unstorable(error)


def check_page(limit: int, offset: int) -> None:
    """Check the limit and the offset of a page."""
    check_count(limit, "limit", least=1)
    check_count(offset, "offset", least=0)


def check_seconds(seconds: float, name: str) -> None:
    """Check an age or an interval."""
    check_number(seconds, name, most=_MAX_SECONDS)


def check_uuids(values: Iterable[str], name: str) -> list[UUID]:
    """Check several ids. Return each once."""
    ids = enumerate(check_iterable(values, name))
    checked = (check_uuid(value, f"{name}[{place}]") for place, value in ids)
    return list(dict.fromkeys(checked))


def expires_at(now: datetime, minutes: float) -> str:
    """Return the time in `minutes` from now, in the stored format."""
    return time_text(now + timedelta(minutes=minutes))


def time_text(time: datetime) -> str:
    """Return a time in UTC as text of fixed length, which sorts in the order of times."""
    return time.isoformat(timespec="microseconds")
