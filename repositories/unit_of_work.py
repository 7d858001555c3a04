"""One transaction, and the repositories whose statements run in it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    Delete,
    Dialect,
    Engine,
    Executable,
    Table,
    Update,
    inspect,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.sql.compiler import SQLCompiler

from threadlog.encryption import Encryption
from threadlog.errors import CommitOutcomeUnknownError
from threadlog.models import MESSAGES, SchemaPart
from threadlog.models.dialects.names import MYSQL, TRANSLATE_MAP, dialect_name
from threadlog.models.dialects.returned_number import ONE_STATEMENT_DIALECTS
from threadlog.models.dialects.upsert import LIST_DIALECTS
from threadlog.repositories.base import (
    FetchedRows,
    GivenParameters,
    Parameters,
    Statement,
)
from threadlog.repositories.catalog.catalog import CatalogueRepository
from threadlog.repositories.catalog.schema_version import SchemaVersionRepository
from threadlog.repositories.erasure import ErasureRepository
from threadlog.repositories.graph.checkpoint import CheckpointRepository
from threadlog.repositories.graph.checkpoint_blob import CheckpointBlobRepository
from threadlog.repositories.graph.checkpoint_write import CheckpointWriteRepository
from threadlog.repositories.graph.store_item import StoreItemRepository
from threadlog.repositories.graph.write_owner import WriteOwnerRepository
from threadlog.repositories.log.control import AppendKeyRepository, OwnerRepository
from threadlog.repositories.log.encryption import EncryptedValueRepository
from threadlog.repositories.log.fork import ForkRepository
from threadlog.repositories.log.hitl_answer import HitlAnswerRepository
from threadlog.repositories.log.lease import LeaseRepository
from threadlog.repositories.log.message import MessageRepository
from threadlog.repositories.log.pending_request import PendingRequestRepository
from threadlog.repositories.log.retention import RetentionRepository
from threadlog.repositories.log.run import RunRepository
from threadlog.repositories.log.search import SearchRepository
from threadlog.repositories.log.thread import ThreadRepository
from threadlog.repositories.log.truncation import TruncationRepository
from threadlog.repositories.metadata.run import AppRunRepository
from threadlog.repositories.metadata.thread import AppThreadRepository
from threadlog.repositories.transfer import RawRowRepository, count_rows

if TYPE_CHECKING:
    from threadlog.repositories.base import Rows

WRITES_OPTION: Final = "threadlog_writes"
"""Execution option of a connection whose transaction is going to write. An engine may take
its write lock at the start (SQLite's BEGIN IMMEDIATE)."""


# Until the connection returns to its pool.
_SNAPSHOT: Final = {"isolation_level": "REPEATABLE READ"}

# A server-side cursor, which an application may have set for its engine or connection, knows no
# count of changed rows.
_BUFFERED: Final = {"stream_results": False, "yield_per": None}

# The attribute of a dialect with its compiled statements.
_COMPILED: Final = "threadlog_statements"

# Parameters of one statement: fewer than every server takes.
_REFRESHED_AT_ONCE: Final = 500


class CommitLostError(Exception):
    """The connection was lost during COMMIT; ``__cause__`` is the error of SQLAlchemy.

    Internal to the run of one transaction: `TransactionRunner` either runs the transaction
    again or raises the public `CommitOutcomeUnknownError`.
    """

    def __init__(self, reason: str) -> None:
        """Create the error; `reason` is the driver's text."""
        super().__init__(reason)
        self.reason = reason


class UnitOfWork(ABC):
    """One transaction, with the repositories whose statements run in it.

    The subclasses `EngineUnitOfWork`, `OwnedUnitOfWork` and `JoinedUnitOfWork` differ in the
    object that runs the statements and in who ends the transaction.
    """

    connection: Connection
    """The connection that the transaction runs on; set inside the block."""

    lost_commits: tuple[CommitLostError, ...] = ()
    """The errors of earlier runs of the block that lost their connection during COMMIT. Their
    writes may be stored."""

    read_committed: bool = False
    """Whether the transaction is known to read at READ COMMITTED, where a locking read of a missing
    row locks nothing."""

    snapshot: bool = False
    """Whether the transaction is to read at REPEATABLE READ."""

    has_control: bool = False
    """Whether the database has the tables of thread control."""

    has_search: bool = False
    """Whether the database has the search index."""

    encryption: Encryption | None = None
    """The encryption of the message log; None if it is in plain text."""

    def outcome_unknown(self) -> CommitOutcomeUnknownError:
        """Return the public error of the last of `lost_commits`."""
        return CommitOutcomeUnknownError(self.lost_commits[-1].reason)

    @abstractmethod
    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a statement in the transaction."""

    def run(self, statement: Statement, parameters: GivenParameters) -> FetchedRows:
        """Run a statement that runs often in the transaction."""
        result = cast("CursorResult[Any]", self._execute(statement, parameters))
        rows = FetchedRows(result) if result.returns_rows else FetchedRows()
        rows.rowcount = result.rowcount
        return rows

    def _execute(self, statement: Statement, parameters: GivenParameters) -> "Rows":
        if (
            not isinstance(parameters, Mapping)
            and len(parameters) > 1
            # The text of a compiled statement has no schema.
            and TRANSLATE_MAP not in self.connection.get_execution_options()
        ):
            dialect, known = self.connection.dialect, compiled_statements(self.connection.dialect)
            if statement not in known:
                known[statement] = CompiledStatement(statement.executable, dialect, parameters[0])
            text, values, many = known[statement].prepare(parameters)
            if not many:
                return self.connection.exec_driver_sql(text, values, _BUFFERED)
        return self.execute(statement.executable, parameters)

    @cached_property
    def dialect(self) -> str:
        """The name of the connected server's dialect; ``mariadb`` for MariaDB under any URL."""
        return dialect_name(self.connection.dialect)

    @property
    def can_lock_and_append(self) -> bool:
        """Whether `MessageRepository.lock_and_append` can be used."""
        return (
            self.read_committed
            and self.dialect in ONE_STATEMENT_DIALECTS
            and self.encryption is None  # a ciphertext depends on the seq
        )

    @cached_property
    def key_owners(self) -> dict[str, str | None]:
        """By thread: the owner whose key new values get, as far as it is known.

        Set also before the owner is stored.
        """
        return {}

    @property
    def can_index_appended(self) -> bool:
        """Whether `lock_and_append` can insert rows of the search index in its statement."""
        return self.dialect in LIST_DIALECTS

    # A repository is created from its unit of work: its class is the function of the property.
    threads = cached_property(ThreadRepository)
    """Threads, and the lock under which a thread's seq is allocated."""

    messages = cached_property(MessageRepository)
    """Messages of threads."""

    runs = cached_property(RunRepository)
    """Runs of agents on threads."""

    forks = cached_property(ForkRepository)
    """The finished part of a thread."""

    encrypted_values = cached_property(EncryptedValueRepository)
    """Values of the log, encrypted and decrypted."""

    owners = cached_property(OwnerRepository)
    """Owners of threads."""

    search = cached_property(SearchRepository)
    """The search index."""

    append_keys = cached_property(AppendKeyRepository)
    """Keys of appends."""

    truncations = cached_property(TruncationRepository)
    """Removals of threads' newest messages."""

    retention = cached_property(RetentionRepository)
    """Threads that were not written to for long."""

    leases = cached_property(LeaseRepository)
    """Leases of runs."""

    pending_requests = cached_property(PendingRequestRepository)
    """Questions that wait for a person."""

    hitl_answers = cached_property(HitlAnswerRepository)
    """People's answers to questions."""

    checkpoints = cached_property(CheckpointRepository)
    """Checkpoints of graphs."""

    checkpoint_blobs = cached_property(CheckpointBlobRepository)
    """Values of graphs' channels."""

    checkpoint_writes = cached_property(CheckpointWriteRepository)
    """Writes of graphs' tasks."""

    write_owners = cached_property(WriteOwnerRepository)
    """Owners of the writes of threads' graphs."""

    store_items = cached_property(StoreItemRepository)
    """Items of the memory store."""

    app_threads = cached_property(AppThreadRepository)
    """Threads of an agent server."""

    app_runs = cached_property(AppRunRepository)
    """Runs of an agent server."""

    erasure = cached_property(ErasureRepository)
    """All rows of a thread, in whatever table."""

    catalogue = cached_property(CatalogueRepository)
    """The server's version and settings, and the tables that exist."""

    def schema_version(self, part: SchemaPart) -> SchemaVersionRepository:
        """Return the repository of the stored version of a part of the schema."""
        return SchemaVersionRepository(self, part)

    def raw_rows(self, table: Table) -> RawRowRepository:
        """Return the repository of a table's rows for copying to another database."""
        return RawRowRepository(self, table)

    def count_rows(self, tables: Sequence[Table], thread_id: Any) -> dict[Table, int]:
        """Return the number of a thread's rows in each of several tables, in one statement."""
        return count_rows(self, tables, thread_id)


# An INSERT of rows: the row, and the words after the rows on MySQL.
_INSERT: Final = re.compile(
    r"(INSERT INTO .*? VALUES )(\(.*?\))((?: AS new)? ON DUPLICATE KEY [^%]*)?", re.DOTALL
)
_NAMED: Final = re.compile(r"%\((\w+)\)s")


class CompiledStatement:
    """The text of a `Statement` for one dialect, and the conversions of its values."""

    def __init__(self, executable: Any, dialect: Dialect, names: Iterable[str]) -> None:
        """Compile a statement.

        Args:
            executable: the statement; not an `Executable`, which has no ``compile()`` for mypy.
            dialect: the dialect.
            names: the names of the parameters of each execution.
        """
        given = list(names)
        compiled: SQLCompiler = executable.compile(dialect=dialect, column_keys=given)
        self.text = str(compiled)
        self.is_fixed = not compiled.post_compile_params
        """False if SQLAlchemy changes the text for each execution, as for a list of values."""

        self._insert = _INSERT.fullmatch(self.text) if dialect.name in MYSQL else None
        self.row_conversions: Sequence[tuple[int, Callable[[Any], Any]]] | None = None
        """By place in a row: the conversions of its values; None before the first row."""

        self._names = None if compiled.positional else list(compiled.binds)
        self._values: list[tuple[str | None, Any]] = []  # constants have no name
        for name in self._names or compiled.positiontup or ():
            bind = compiled.binds[name]
            convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if name in given:
                self._values.append((name, convert))
            else:
                value = bind.effective_value
                self._values.append((None, value if convert is None else convert(value)))
        self._types = [column.type for column in getattr(executable, "exported_columns", ())]
        self._dialect = dialect

    def prepare(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Any, bool]:
        """Return the text, its parameters, and True if they are those of several executions.

        On MySQL several rows of an INSERT become one execution: its drivers join only rows
        without functions.
        """
        prepared: list[Any] = []
        for row in rows:
            values = []
            for name, convert in self._values:
                if name is None:
                    values.append(convert)  # a constant
                elif convert is None:
                    values.append(row[name])
                else:
                    values.append(convert(row[name]))
            names = self._names
            prepared.append(
                tuple(values) if names is None else dict(zip(names, values, strict=True))
            )
        if len(rows) == 1:
            return self.text, prepared[0], False
        if self._insert is None:
            return self.text, prepared, True
        into, row_text, after = self._insert.groups("")
        if self._names is not None:
            in_order = _NAMED.findall(row_text)
            prepared = [[values[name] for name in in_order] for values in prepared]
            row_text = _NAMED.sub("%s", row_text)
        text = f"{into}{', '.join([row_text] * len(rows))}{after}"
        return text, tuple(chain.from_iterable(prepared)), False

    def convert_rows(self, rows: FetchedRows, description: Sequence[Any]) -> None:
        """Convert rows of a cursor to Python's types.

        Args:
            rows: the rows, changed in place.
            description: the cursor's description.
        """
        dialect = self._dialect
        if self.row_conversions is None:
            found = (
                type_.dialect_impl(dialect).result_processor(dialect, column[1])
                for type_, column in zip(self._types, description, strict=True)
            )
            self.row_conversions = [(p, convert) for p, convert in enumerate(found) if convert]
        for number, row in enumerate(rows if self.row_conversions else ()):
            values = list(row)
            for place, convert in self.row_conversions:
                values[place] = convert(values[place])
            rows[number] = values


def compiled_statements(dialect: Dialect) -> dict[Statement, CompiledStatement]:
    """Return the statements that were compiled for the dialect of an engine, to add more.

    They are kept by the dialect, to which their conversions refer, and end with it.
    """
    found: dict[Statement, CompiledStatement] = vars(dialect).setdefault(_COMPILED, {})
    return found


class EngineUnitOfWork(UnitOfWork):
    """A unit of work on a connection of an engine that threadlog owns.

    Leaving the block commits, an exception rolls back, and either way the connection returns to
    the pool. A unit that changed nothing rolls back, so that the server has nothing to flush.
    """

    def __init__(
        self,
        engine: Engine,
        compiled: dict[Statement, CompiledStatement],
        *,
        writes: bool,
        single: bool,
        read_committed: bool,
        dialect: str | None = None,
    ) -> None:
        """Create a unit of work; nothing connects before the block.

        Args:
            engine: the engine of the pool.
            compiled: see `compiled_statements`.
            writes: whether the block is going to write.
            single: whether each `Statement` of the block is a transaction of its own: the
                connections are in autocommit mode.
            read_committed: see `UnitOfWork`.
            dialect: the name of the server's dialect, if it is known already.
        """
        self._compiled = compiled
        self.read_committed = read_committed
        if dialect is not None:
            self.dialect = dialect
        self._engine = engine
        self._single = single
        self._writes = writes
        self._changed = False

    @cached_property
    def session(self) -> Session:
        """A session in the same transaction, for use of the ORM; it never commits."""
        self._changed = True  # perhaps, without a statement of this unit
        return Session(self.connection, join_transaction_mode="rollback_only")

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a statement on the connection."""
        self._changed = self._changed or not statement.is_select
        return self.connection.execute(statement, parameters)

    def run(self, statement: Statement, parameters: GivenParameters) -> FetchedRows:
        """Run a statement on the driver's cursor.

        SQLAlchemy's events, errors and handling of lost connections are those of
        `Connection.execute`, but events have no execution context.
        """
        connection = self.connection
        given = [parameters] if isinstance(parameters, Mapping) else parameters
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = CompiledStatement(statement.executable, connection.dialect, given[0])
            self._compiled[statement] = compiled
        if not compiled.is_fixed:
            return super().run(statement, parameters)
        driver_connection: Any = connection.connection.dbapi_connection
        # False on a connection to a pooler of PostgreSQL, which is in no autocommit mode.
        autocommit = self._single and getattr(driver_connection, "autocommit", True) is not False
        if not autocommit and not connection.in_transaction():
            connection.begin()
        text, sent, many = compiled.prepare(given)
        events, cursor = self._engine.dispatch, None  # a connection's joins them anew each time
        try:
            cursor = driver_connection.cursor()
            for before in events.before_cursor_execute:
                text, sent = before(connection, cursor, text, sent, None, many)
            (cursor.executemany if many else cursor.execute)(text, sent)
            for after in events.after_cursor_execute:
                after(connection, cursor, text, sent, None, many)
            rows = FetchedRows(cursor.fetchall() if cursor.description else ())
            rows.rowcount, rows.lastrowid = cursor.rowcount, getattr(cursor, "lastrowid", 0)
            if rows.rowcount and not statement.executable.is_select:
                self._changed = True
            if rows and compiled.row_conversions != []:
                compiled.convert_rows(rows, cursor.description)
            cursor.close()
        except BaseException as error:  # noqa: BLE001 - SQLAlchemy raises it again
            is_driver_error = isinstance(error, connection.dialect.loaded_dbapi.Error)
            connection._handle_dbapi_exception(  # noqa: SLF001 - nothing public does what it does
                error, text if is_driver_error else None, sent, cursor, None
            )
        return rows

    def __enter__(self) -> Self:
        """Check out a connection; the first statement begins the transaction."""
        self.connection = self._engine.connect()
        if self.snapshot:
            self.connection = self.connection.execution_options(**_SNAPSHOT)
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """End the transaction and return the connection to the pool.

        Raises:
            CommitLostError: the connection was lost during COMMIT.
        """
        try:
            if exc is None and self._changed and self._writes:
                _commit(self.connection, self.connection)
        finally:
            self.connection.close()  # rolls back an open transaction


class OwnedUnitOfWork(UnitOfWork):
    """A unit of work on a session that threadlog may end, made by the application's factory.

    Leaving the block commits (a unit that only reads rolls back, which costs the same),
    an exception rolls back, and either way the session is closed: afterwards it holds no
    connection. The block may be run again on the same session.
    """

    def __init__(
        self,
        session: Session,
        *,
        writes: bool = True,
        part: SchemaPart = MESSAGES,
    ) -> None:
        """Create a unit of work.

        Args:
            session: the session, owned until the block ends.
            writes: whether the block is going to write.
            part: the part of the schema whose engine the session is to use.
        """
        self.session = session
        self._bind_arguments = bind_arguments(part)
        self._writes = writes

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a statement in the session."""
        return self.session.execute(
            statement,
            parameters,
            bind_arguments=self._bind_arguments,
            execution_options=_BUFFERED,
        )

    def __enter__(self) -> Self:
        """Begin the transaction."""
        options: dict[str, Any] = {WRITES_OPTION: self._writes}
        if self.snapshot and not self._is_nested():
            options |= _SNAPSHOT
        if not self.session.in_transaction():  # it may have autobegin=False
            self.session.begin()
        self.connection = self.session.connection(self._bind_arguments, execution_options=options)
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """End the transaction and close the session.

        Raises:
            CommitLostError: the connection was lost during COMMIT.
        """
        try:
            if exc is None and self._writes:
                _commit(self.session, self.connection)
        finally:
            self.session.reset()  # rolls back an open transaction; close() may be for ever

    def _is_nested(self) -> bool:
        """Return True if the session is part of a transaction of its connection's, as in tests."""
        bind = self.session.get_bind(**self._bind_arguments)
        return isinstance(bind, Connection) and bind.in_transaction()


class JoinedUnitOfWork(UnitOfWork):
    """A unit of work on a session that the application opened.

    The statements run in the application's transaction. The block never commits, rolls back
    or closes; nothing is run a second time; errors of the database reach the application,
    which alone can end its transaction. Rows stay locked until it does. Objects that are
    pending in the session stay pending.
    """

    def __init__(self, session: Session, *, part: SchemaPart = MESSAGES) -> None:
        """Join the session's transaction on a part's engine, or let the block begin it."""
        self.session = session
        self._bind_arguments = bind_arguments(part)
        self._without_autoflush = ExitStack()
        self._changed: set[Any] = set()
        self._deleted: set[Any] = set()

    def execute(self, statement: Executable, parameters: Parameters = None) -> "Rows":
        """Run a statement in the session."""
        if isinstance(statement, Update | Delete):
            self._changed.add(statement.table)
            if isinstance(statement, Delete):
                self._deleted.add(statement.table)
        return self.session.execute(
            statement,
            parameters,
            bind_arguments=self._bind_arguments,
            execution_options=_BUFFERED,
        )

    def __enter__(self) -> Self:
        """Disable the session's autoflush, so that pending objects stay pending."""
        self.connection = self.session.connection(self._bind_arguments)
        self._without_autoflush.enter_context(self.session.no_autoflush)
        return self

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        """Restore the session's autoflush; the transaction is the application's.

        Objects of the session whose rows may have changed are read again: in asyncio now, where
        an expired attribute would raise, else when they are used. Changes of the application
        that are not flushed yet stay.
        """
        try:
            if self._changed:
                self._expire_changed(refresh=exc is None and self.connection.dialect.is_async)
        finally:
            self._without_autoflush.close()

    def _expire_changed(self, *, refresh: bool) -> None:
        expired: dict[Mapper[Any], list[Any]] = {}
        held = self.session.identity_map.values()  # strong references, until they are read again
        for state in map(inspect, held):
            if state.mapper.local_table not in self._changed:
                continue
            names = state.unmodified.intersection(state.mapper.column_attrs.keys())
            if names:  # no names would stand for all
                # `Session.get` looks for the row again if all attributes are expired.
                is_whole = state.mapper.local_table in self._deleted and not state.modified
                self.session.expire(state.object, None if is_whole else names)
                # As an UPDATE of the ORM: rolling back to a savepoint expires it again.
                self.session._register_altered([state])  # noqa: SLF001 - nothing public does it
                expired.setdefault(state.mapper, []).append(state.identity)
        for mapper, keys in expired.items() if refresh else ():
            is_held = tuple_(*mapper.primary_key)
            for start in range(0, len(keys), _REFRESHED_AT_ONCE):
                some = is_held.in_(keys[start : start + _REFRESHED_AT_ONCE])
                self.session.scalars(
                    select(mapper.class_).where(some), bind_arguments=self._bind_arguments
                ).all()


@cache
def bind_arguments(part: SchemaPart) -> dict[str, Any]:
    """Return the arguments by which a session with several engines finds that of a part.

    A session that separates readers from writers is asked for the engine that writes: one unit
    of work uses one connection.
    """
    mapper = inspect(part.main_class)
    return {"mapper": mapper, "clause": update(cast("Table", mapper.local_table))}


def _commit(transaction: Session | Connection, connection: Connection) -> None:
    try:
        transaction.commit()
    except (DBAPIError, OSError) as error:  # SQLAlchemy wraps none of asyncpg's own OSErrors
        # The failed transaction may still be open, with its locks, though SQLAlchemy treats it
        # as ended: the connection must not be reused.
        if not (connection.invalidated or connection.closed):
            connection.invalidate(error)
        if isinstance(error, OSError):
            raise CommitLostError(str(error)) from error
        if error.connection_invalidated:
            raise CommitLostError(str(error.orig)) from error
        raise
