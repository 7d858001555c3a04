"""Remove the newest messages of a thread."""

from threadlog.encoding.validation import check_count, check_id
from threadlog.errors import ThreadInUseError
from threadlog.log.conditions import require_control
from threadlog.log.results import TruncationSummary
from threadlog.repositories import UnitOfWork
from threadlog.runtime.transactions import TransactionRunner


def truncate(
    transactions: TransactionRunner,
    thread_id: str,
    *,
    after_seq: int,
    run_id: str | None = None,
    ignore_open_runs: bool = False,
) -> TruncationSummary | None:
    """Remove the messages after a seq; see `Checkpointer.truncate`."""
    check_id(thread_id)
    check_count(after_seq, "after_seq", least=0)
    if run_id is not None:
        check_id(run_id, "run_id")
    last_seq = 0
    """The last seq that the latest attempt removed, 0 if none was."""

    def remove(uow: UnitOfWork) -> TruncationSummary | None:
        nonlocal last_seq
        require_control(uow)
        state = uow.truncations.lock_thread(thread_id, run_id)
        if last_seq and uow.lost_commits:
            stored = _get(uow, thread_id, last_seq)
            if stored is not None and (stored.after_seq, stored.run_id) == (after_seq, run_id):
                return stored
        if state is None or state.last_seq <= after_seq:
            return None
        if not ignore_open_runs and (state.has_question or state.open_run is not None):
            raise ThreadInUseError(thread_id=thread_id, run_id=state.open_run)
        last_seq = state.last_seq
        uow.truncations.remove(thread_id, after_seq, run_id, state)
        if uow.has_search:
            uow.search.delete_after(thread_id, after_seq)
        uow.threads.touch(thread_id)  # also so that older snapshots cannot lock the row
        return _get(uow, thread_id, last_seq)

    return transactions.write(remove, idempotent=True)


def truncations(transactions: TransactionRunner, thread_id: str) -> list[TruncationSummary]:
    """List what was removed from a thread; see `Checkpointer.truncations`."""
    check_id(thread_id)

    def read(uow: UnitOfWork) -> list[TruncationSummary]:
        require_control(uow)
        rows = uow.truncations.of_thread(thread_id)
        return [TruncationSummary(thread_id, **row._asdict()) for row in rows]

    return transactions.read(read)


def _get(uow: UnitOfWork, thread_id: str, last_seq: int) -> TruncationSummary | None:
    row = uow.truncations.get(thread_id, last_seq)
    return None if row is None else TruncationSummary(thread_id, **row._asdict())
