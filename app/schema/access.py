"""Check what the account of the URL may do with the tables."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from sqlalchemy.exc import DBAPIError

from threadlog.databases.base import Backend
from threadlog.errors import NotWritableError
from threadlog.models import SchemaPart
from threadlog.repositories import UnitOfWork
from threadlog.schema.result import PART_SUFFIX, CheckResult

_WRITES: Final = ["INSERT", "UPDATE", "DELETE"]


def check_access(uow: UnitOfWork, part: SchemaPart, *, backend: Backend) -> Iterator[CheckResult]:
    """Check the rights to read and to write each table, with statements that match no row."""
    tables = sorted(uow.catalogue.tables(part) - {part.version_table.name})
    denied: defaultdict[str, list[str]] = defaultdict(list)
    suffix = PART_SUFFIX[part.name]
    for table in tables:
        for right, statement in uow.catalogue.statements_on_no_row(part, table).items():
            try:
                with uow.connection.begin_nested():
                    uow.execute(statement)
            except DBAPIError as error:
                if backend.error_type(error) is NotWritableError:
                    message = "The server accepts no writes: it is read-only, perhaps a replica."
                    yield CheckResult("access", "warning", message)
                    return
                if not backend.is_denied(error):
                    raise
                denied[table].append(right)
    if tables and not denied:
        message = f"All tables{suffix} can be read and written by the account."
        yield CheckResult("access", "ok", message)
    elif tables and all(denied.get(table) == _WRITES for table in tables):
        message = (
            f"All tables{suffix} can be read, but not written by the account: every write fails."
        )
        yield CheckResult("access", "warning", message, _grants(uow, backend, denied))
    else:
        for table, rights in denied.items():
            message = f"The account has no right to {', '.join(rights)} on {table}."
            grants = _grants(uow, backend, {table: rights})
            yield CheckResult("access", "error", message, grants)


def _grants(uow: UnitOfWork, backend: Backend, denied: dict[str, list[str]]) -> str:
    """Return the statements by which an administrator grants rights; empty if there are none."""
    if backend.embedded:
        return ""
    return "; ".join(uow.catalogue.grant_statement(*each) for each in denied.items())
