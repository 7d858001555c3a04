"""The tables of the mapped classes, for statements of SQLAlchemy Core."""

from typing import Final, cast

from sqlalchemy import Table

from threadlog.models.app_run import AppRun
from threadlog.models.app_thread import AppThread
from threadlog.models.append_key import AppendKey
from threadlog.models.checkpoint import Checkpoint
from threadlog.models.checkpoint_blob import CheckpointBlob
from threadlog.models.checkpoint_write import CheckpointWrite
from threadlog.models.hitl_answer import HitlAnswer
from threadlog.models.lease import Lease
from threadlog.models.message import Message
from threadlog.models.owner import Owner
from threadlog.models.run import Run
from threadlog.models.search_row import SearchRow
from threadlog.models.store_item import StoreItem
from threadlog.models.thread import Thread
from threadlog.models.truncation import Truncation
from threadlog.models.write_owner import WriteOwner

THREADS: Final = cast("Table", Thread.__table__)
MESSAGES: Final = cast("Table", Message.__table__)
RUNS: Final = cast("Table", Run.__table__)
ANSWERS: Final = cast("Table", HitlAnswer.__table__)
OF_THREAD: Final = (MESSAGES, RUNS, ANSWERS)
"""The tables whose rows belong to a row of `THREADS`."""

CHECKPOINTS: Final = cast("Table", Checkpoint.__table__)
BLOBS: Final = cast("Table", CheckpointBlob.__table__)
WRITES: Final = cast("Table", CheckpointWrite.__table__)
WRITE_OWNERS: Final = cast("Table", WriteOwner.__table__)

APP_THREADS: Final = cast("Table", AppThread.__table__)
APP_RUNS: Final = cast("Table", AppRun.__table__)

ITEMS: Final = cast("Table", StoreItem.__table__)

OWNERS: Final = cast("Table", Owner.__table__)
LEASES: Final = cast("Table", Lease.__table__)
APPEND_KEYS: Final = cast("Table", AppendKey.__table__)
TRUNCATIONS: Final = cast("Table", Truncation.__table__)
OF_CONTROL: Final = (OWNERS, LEASES, APPEND_KEYS, TRUNCATIONS)
"""The tables of thread control, whose rows a foreign key to `THREADS` deletes."""

SEARCH: Final = cast("Table", SearchRow.__table__)
"""The search index, whose rows a foreign key to `THREADS` deletes."""
