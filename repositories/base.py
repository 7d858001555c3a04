"""Base of the repositories, and functions to execute their statements."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Executable, Result

from threadlog.encryption import Encryption
from threadlog.errors import CheckpointCorruptionError
from threadlog.models.dialects.locking import LockingRead

if TYPE_CHECKING:
    from threadlog.repositories.log.encryption import EncryptedValueRepository
    from threadlog.repositories.log.lease import LeaseRepository
    from threadlog.repositories.log.thread import ThreadRepository

if TYPE_CHECKING:  # before SQLAlchemy 2.1 a result has one parameter
    Rows: TypeAlias = Result[*tuple[Any, ...]]
    """The result of any statement."""

T = TypeVar("T")

Row: TypeAlias = Sequence[Any]
GivenParameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]
Parameters: TypeAlias = GivenParameters | None


class Statement:
    """A statement that runs often, always with parameters of the same names.

    On an engine that threadlog owns it is compiled once and runs on the driver's cursor.
    """

    def __init__(self, executable: Executable, lists: Sequence[str] = ()) -> None:
        """Wrap a statement of SQLAlchemy; see `UnitOfWork.run`.

        Args:
            executable: the statement.
            lists: see `insert_rows_if_absent`.
        """
        self.executable = executable
        self.lists = lists


class FetchedRows(list[Row]):
    """The rows of a `Statement`, with the methods of `sqlalchemy.Result` that repositories use."""

    rowcount = -1
    """How many rows an UPDATE or DELETE matched, or an INSERT inserted."""

    lastrowid = 0
    """The id that MySQL returns for an INSERT."""

    def first(self) -> Row | None:
        """Return the first row; None if there is none."""
        return self[0] if self else None


class Executor(Protocol):
    """The part of a unit of work that repositories use.

    A protocol, as `UnitOfWork` imports every repository.
    """

    @property
    def connection(self) -> Connection:
        """The connection in whose transaction the statements run."""

    @property
    def dialect(self) -> str:
        """The name of the connected server's dialect; ``mariadb`` for MariaDB under any URL."""

    @property
    def read_committed(self) -> bool:
        """Whether the transaction is known to read at READ COMMITTED, without gap locks."""

    @property
    def has_control(self) -> bool:
        """Whether the database has the tables of thread control."""

    @property
    def has_search(self) -> bool:
        """Whether the database has the search index."""

    @property
    def encryption(self) -> Encryption | None:
        """The encryption of the message log; None if it is in plain text."""

    @property
    def key_owners(self) -> dict[str, str | None]:
        """By thread: the owner whose key new values get, as far as it is known."""

    @property
    def threads(self) -> "ThreadRepository":
        """Threads, and the lock under which a thread's seq is allocated."""

    @property
    def leases(self) -> "LeaseRepository":
        """Leases of runs."""

    @property
    def encrypted_values(self) -> "EncryptedValueRepository":
        """Values of the log, encrypted and decrypted."""

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a statement in the transaction."""

    def run(self, statement: Statement, parameters: GivenParameters) -> FetchedRows:
        """Run a statement that runs often in the transaction."""


@dataclass(slots=True)
class Repository:
    """Statements on one table, executed in a unit of work."""

    uow: Executor


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Divide values for several statements, as servers limit the parameters of one."""
    return (values[start : start + size] for start in range(0, len(values), size))


def rowcount(result: "Rows") -> int:
    """Return how many rows an UPDATE or DELETE matched, or an INSERT inserted.

    MySQL also counts rows that an UPDATE leaves unchanged if the connection has FOUND_ROWS,
    which SQLAlchemy's dialects for MySQL set. An INSERT needs the option ``preserve_rowcount``:
    psycopg loses the number when its cursor is closed.
    """
    return cast("CursorResult[Any]", result).rowcount


@cache
def locking_statements(read: LockingRead, dialect: str) -> Sequence[Statement]:
    """Return the statements of a `LockingRead` in their order; the last one reads."""
    return [Statement(each) for each in read.statements(dialect)]


def execute_in_order(
    uow: Executor, statements: Sequence[Statement], parameters: Mapping[str, Any]
) -> Row | None:
    """Run the statements of a `LockingRead`, up to the first that finds no row.

    Args:
        uow: the unit of work.
        statements: the statements.
        parameters: the parameters of every statement.

    Returns:
        The row of the last statement; None if one found no row.
    """
    rows = FetchedRows()
    for statement in statements:
        rows = uow.run(statement, parameters)
        if not rows:
            break
    return rows.first()


def parse_object(table: str, thread_id: str, column: str, text: str) -> dict[str, Any]:
    """Decode the text of a JSON column.

    Raises:
        CheckpointCorruptionError: it is not a JSON object.
    """
    cause = None
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    except (TypeError, ValueError) as error:
        cause = error
    reason = f"{column} is not a JSON object"
    raise CheckpointCorruptionError(table=table, thread_id=thread_id, reason=reason) from cause
