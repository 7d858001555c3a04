"""The meaning of the errors of PostgreSQL's drivers."""

from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError

from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ColumnTooShortError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    NotWritableError,
    StatementTimeoutError,
    StorageError,
)
from threadlog.models import Message, Run

# postgresql.org/docs/current/errcodes-appendix.html
_ERRORS: Final[dict[str, type[StorageError]]] = {
    "40001": DeadlockError,  # another transaction came first, under REPEATABLE READ
    "40P01": DeadlockError,
    "55P03": CheckpointerLockTimeoutError,
    "57014": StatementTimeoutError,
    "25006": NotWritableError,
    "22001": ColumnTooShortError,
    "3D000": ConnectionFailedError,
    "53300": ConnectionLostError,  # too many connections
    "25P03": ConnectionLostError,  # closed by the server after idling
}
_CLASSES: Final[dict[str, type[StorageError]]] = {
    "28": ConnectionFailedError,
    "08": ConnectionLostError,
}
# The code of every error of PgBouncer, which then closes the connection.
_POOLER: Final = "08P01"
# The server, an administrator or a pooler ends the session.
_SESSION_ENDED: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", _POOLER})

_DUPLICATE: Final = "23505"
# Under its thread's lock a key is free, unless the transaction's snapshot is older than the lock.
_UNDER_LOCK: Final = tuple(f"INSERT INTO {m.__tablename__} " for m in (Message, Run))

# psycopg has no code for the error of a client that connects.
_REFUSALS: Final = (
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "permission denied",
    "no such database",  # PgBouncer's texts
    "no such user",
    "unsupported startup parameter",
)


def error_type(error: DBAPIError) -> type[StorageError]:
    """Return threadlog's error class for an error of the driver."""
    code, text = sqlstate_of(error.orig), str(error.orig)
    if "(read_timeout)" in text:  # threadlog's own: the drivers have no such limit
        return StatementTimeoutError
    if code in {None, _POOLER}:
        lost = error.connection_invalidated or isinstance(error, OperationalError)
        if lost and any(refusal in text for refusal in _REFUSALS):
            return ConnectionFailedError
        return ConnectionLostError if lost else StorageError
    if code == _DUPLICATE and (error.statement or "").startswith(_UNDER_LOCK):
        return DeadlockError
    if code in _SESSION_ENDED or (error.connection_invalidated and code not in _ERRORS):
        return ConnectionLostError
    return _ERRORS.get(code) or _CLASSES.get(code[:2]) or StorageError


def ends_session(error: BaseException | None) -> bool:
    """Return True if a driver's error means that the server ends the session."""
    return sqlstate_of(error) in _SESSION_ENDED


def refuses_writes(error: BaseException | None) -> bool:
    """Return True if a driver's error means that its server refuses writes."""
    return sqlstate_of(error) == "25006"


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return the server's code of a driver's error; None if it has none."""
    while error is not None:
        code = getattr(error, "sqlstate", None)
        if isinstance(code, str):
            return code
        error = error.__cause__
    return None
