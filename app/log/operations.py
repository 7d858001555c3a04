"""What threadlog does, each verb once, as synchronous functions over a store.

The facades run them, an asynchronous one inside a greenlet, so that no body is written
twice. A function checks and encodes before it opens its unit of work and decodes after it:
no lock and no connection is held while Python works.
"""

from threadlog.graph.checkpoints import (
    copy_thread,
    delete_graph_thread,
    list_checkpoints,
    put_checkpoint,
    put_writes,
    read_checkpoint,
    read_history,
)
from threadlog.graph.pruning import (
    delete_for_run,
    old_threads,
    prune,
    prune_older,
    threads_of_runs,
)
from threadlog.log.append import (
    append,
    append_together,
    encode_append,
    load,
    read,
)
from threadlog.log.forks import fork, snapshot
from threadlog.log.hitl_answers import (
    clear_hitl_answers,
    load_hitl_answer,
    save_hitl_answer,
)
from threadlog.log.pending_requests import (
    clear_pending_request_if_matches,
    load_pending,
    load_pending_run_id,
    save_pending_request,
)
from threadlog.log.runs import (
    claim_run,
    mark_run_complete,
    release_run,
    runs,
    stale_runs,
)
from threadlog.log.threads import delete_thread, list_threads, save_extra
from threadlog.schema.opening import open_database

__all__ = [
    "append",
    "append_together",
    "claim_run",
    "clear_hitl_answers",
    "clear_pending_request_if_matches",
    "copy_thread",
    "delete_for_run",
    "delete_graph_thread",
    "delete_thread",
    "encode_append",
    "fork",
    "list_checkpoints",
    "list_threads",
    "load",
    "load_hitl_answer",
    "load_pending",
    "load_pending_run_id",
    "mark_run_complete",
    "old_threads",
    "open_database",
    "prune",
    "prune_older",
    "put_checkpoint",
    "put_writes",
    "read",
    "read_checkpoint",
    "read_history",
    "release_run",
    "runs",
    "save_extra",
    "save_hitl_answer",
    "save_pending_request",
    "snapshot",
    "stale_runs",
    "threads_of_runs",
]
