"""Encrypt the values of threads anew: with a new key, for a copy, or for the first time."""

from typing import Final

from threadlog.encoding.statement_size import ROW_OVERHEAD, STATEMENT_OVERHEAD
from threadlog.encoding.validation import check_count, check_id
from threadlog.errors import ConfigurationError
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner

# Payloads that are looked at, and written, in one transaction.
_LOOKED_AT: Final = 500
_WRITTEN: Final = 100
_BYTES: Final = 1_000_000


def reencrypt_page(
    transactions: TransactionRunner, thread_id: str, *, after_seq: int
) -> tuple[int, int | None]:
    """Encrypt some of a thread's values anew, in one transaction; see `Checkpointer.reencrypt`.

    Returns:
        The number of values, and the seq to continue after; None at the end.
    """
    check_id(thread_id)
    check_count(after_seq, "after_seq", least=0)
    if transactions.facts.encryption is None:
        raise ConfigurationError(
            "The checkpointer has no encryption. Create it with encryption=Encryption(…)."
        )
    limit = transactions.statement_limit

    def reencrypt(uow: UnitOfWork) -> tuple[int, int | None]:
        if not uow.threads.lock_existing(thread_id):
            return 0, None
        values = uow.encrypted_values.reencrypt_values(thread_id) if not after_seq else 0
        written, last_seq = _reencrypt_messages(uow, thread_id, after_seq, limit)
        return values + written, last_seq

    return transactions.write(reencrypt, idempotent=True)


def reencrypt_copied(uow: UnitOfWork, thread_id: str, source: str, limit: int) -> None:
    """Encrypt all messages of a thread that were copied from another, in its transaction."""
    after_seq: int | None = 0
    while after_seq is not None:
        _, after_seq = _reencrypt_messages(uow, thread_id, after_seq, limit, source=source)


def _reencrypt_messages(
    uow: UnitOfWork, thread_id: str, after_seq: int, limit: int, *, source: str | None = None
) -> tuple[int, int | None]:
    """Encrypt messages after a seq anew that are not current, as many as fit into a statement.

    Returns:
        The number of messages, and the seq to continue after; None at the end.
    """
    heads = uow.encrypted_values.heads(thread_id, after_seq, _LOOKED_AT)
    room = min(_BYTES, limit - STATEMENT_OVERHEAD)
    seqs: list[int] = []
    for head in heads:
        if source is None and head.is_current:
            continue
        room -= 2 * head.size + ROW_OVERHEAD
        if seqs and (room < 0 or len(seqs) == _WRITTEN):
            break
        seqs.append(head.seq)
    else:
        uow.encrypted_values.reencrypt_payloads(thread_id, seqs, source=source)
        return len(seqs), heads[-1].seq if len(heads) == _LOOKED_AT else None
    uow.encrypted_values.reencrypt_payloads(thread_id, seqs, source=source)
    return len(seqs), seqs[-1]
