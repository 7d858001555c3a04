"""Units of work that see one thread of one owner, or nothing."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import (
    CompoundSelect,
    Executable,
    IteratorResult,
    Select,
    SelectBase,
    bindparam,
    exists,
    select,
    union_all,
)
from sqlalchemy.engine.result import SimpleResultMetaData

from threadlog.models.tables import OWNERS
from threadlog.repositories.base import FetchedRows, GivenParameters, Parameters, Statement
from threadlog.repositories.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from threadlog.repositories.base import Rows

_OWNED: Final = OWNERS.alias("scope")
_IN_SCOPE: Final = exists(
    select(_OWNED.c.thread_id).where(
        _OWNED.c.thread_id == bindparam("scope_thread"), _OWNED.c.owner == bindparam("scope_owner")
    )
)


class _OtherUnitOfWork(UnitOfWork):
    """A unit of work in the transaction of another one."""

    def __init__(self, uow: UnitOfWork) -> None:
        self.connection, self.dialect = uow.connection, uow.dialect
        self.lost_commits, self.has_control = uow.lost_commits, uow.has_control
        self.read_committed, self.encryption = uow.read_committed, uow.encryption
        self._uow = uow


class OwnedReads(_OtherUnitOfWork):
    """A unit of work whose SELECTs return no rows unless a thread belongs to an owner.

    The condition is part of each statement. Thus a statement never returns rows of a thread that
    was deleted and created for another owner, also without a lock and at every isolation level.
    """

    def __init__(self, uow: UnitOfWork, thread_id: str, owner: str) -> None:
        """Create a unit of work in the transaction of another one.

        Args:
            uow: the other one.
            thread_id: the thread.
            owner: the owner.
        """
        super().__init__(uow)
        self._scope = {"scope_thread": thread_id, "scope_owner": owner}

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a SELECT with the condition."""
        given = cast("Mapping[str, Any]", parameters or {})
        return self._uow.execute(_restrict(statement), {**given, **self._scope})

    def run(self, statement: Statement, parameters: GivenParameters) -> FetchedRows:
        """Run a SELECT that runs often with the condition."""
        given = cast("Mapping[str, Any]", parameters)
        return self._uow.run(_restricted(statement), {**given, **self._scope})


class _EmptyResult(IteratorResult[Any]):
    """The result of a statement that was not sent."""

    rowcount = 0


class NoRows(_OtherUnitOfWork):
    """A unit of work that sends nothing, as if the database had no rows."""

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Return no rows."""
        return _EmptyResult(SimpleResultMetaData(()), iter(()))

    def run(self, statement: Statement, parameters: GivenParameters) -> FetchedRows:
        """Return no rows."""
        rows = FetchedRows()
        rows.rowcount = 0
        return rows


@cache
def _restricted(statement: Statement) -> Statement:
    return Statement(_restrict(statement.executable))


def _restrict(statement: Executable | SelectBase) -> Any:
    """Return a SELECT, or a UNION ALL of several, with the condition.

    Any: SQLAlchemy has no type for both that is an `Executable` too.
    """
    statement = getattr(statement, "element", statement)  # a SELECT with LIMIT in a UNION
    if isinstance(statement, CompoundSelect):
        return union_all(*map(_restrict, statement.selects))
    if not isinstance(statement, Select):
        raise TypeError(f"{type(statement).__name__} is not a SELECT. Run it in write().")
    return statement.where(_IN_SCOPE)
