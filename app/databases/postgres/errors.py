"""The meaning of the errors of PostgreSQL's drivers."""

import re
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError

from threadlog.errors import (
    CheckpointerLockTimeoutError,
    ColumnTooShortError,
    ConnectionFailedError,
    ConnectionLostError,
    DeadlockError,
    NotWritableError,
    ServerUnreachableError,
    StatementTimeoutError,
    StorageError,
    TooManyConnectionsError,
    TransactionFailedError,
)
from threadlog.models import Message, Run

# postgresql.org/docs/current/errcodes-appendix.html
_ERRORS: Final[dict[str, type[StorageError]]] = {
    "40001": DeadlockError,  # another transaction came first, under REPEATABLE READ
    "40P01": DeadlockError,
    "55P03": CheckpointerLockTimeoutError,
    "57014": StatementTimeoutError,
    "25006": NotWritableError,
    "25P02": TransactionFailedError,
    "22001": ColumnTooShortError,
    "3D000": ConnectionFailedError,
    "53300": TooManyConnectionsError,
    "55000": StorageError,  # such as two phases on a server that allows none
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
_UNDER_LOCK: Final = re.compile(
    rf"INSERT INTO (\S+\.)?({Message.__tablename__}|{Run.__tablename__}) "
)

# psycopg has no code for the error of a client that connects, PgBouncer one for all.
_TEXTS: Final[dict[type[StorageError], tuple[str, ...]]] = {
    ConnectionFailedError: (
        "authentication failed",
        "does not exist",
        "pg_hba.conf",
        "permission denied",
        "certificate",
        "SSL upgrade",
        "does not support SSL",
        "no such database",  # PgBouncer's texts
        "no such user",
        "unsupported startup parameter",
    ),
    TooManyConnectionsError: (
        "too many",
        "remaining connection slots",
        "no more connections allowed",  # PgBouncer's
    ),
    ServerUnreachableError: ("Is the server running", "[Errno", "(connect_timeout)"),
}


def error_type(error: DBAPIError) -> type[StorageError]:
    """Return threadlog's error class for an error of the driver."""
    code = sqlstate_of(error.orig)
    if "(read_timeout)" in str(error.orig):  # threadlog's own: the drivers have no such limit
        return StatementTimeoutError
    if code in {None, _POOLER}:
        lost = error.connection_invalidated or isinstance(error, OperationalError)
        return connecting_type(error.orig) if lost else StorageError
    if code == _DUPLICATE and _UNDER_LOCK.search(error.statement or ""):
        return DeadlockError
    if code in _SESSION_ENDED or (error.connection_invalidated and code not in _ERRORS):
        return ConnectionLostError
    return _type_of_code(code) or StorageError


def connecting_type(error: BaseException | None) -> type[StorageError]:
    """Return threadlog's error class for a driver's error without a code, or in connecting."""
    code, text = sqlstate_of(error), str(error)
    if code is not None and code != _POOLER:
        return _type_of_code(code) or ConnectionLostError
    kinds = (kind for kind, texts in _TEXTS.items() if any(part in text for part in texts))
    return next(kinds, ConnectionLostError)


def _type_of_code(code: str) -> type[StorageError] | None:
    return _ERRORS.get(code) or _CLASSES.get(code[:2])


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
