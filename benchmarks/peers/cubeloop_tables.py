"""cubeloop's tables, which threadlog, cubeloop and the hand-written loop share."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.conversation import conversation
from benchmarks.peers.log_tables import LogTables
from benchmarks.peers.row import to_row


class CubeloopTables(LogTables):
    """Threads of `threadlog.models`."""

    thread = "INSERT INTO cubepi_threads (thread_id, extra) VALUES (:id, '{}')"
    message = (
        "INSERT INTO cubepi_messages (thread_id, seq, role, metadata, payload, run_id)"
        " VALUES (:id, :seq, :role, :metadata, :payload, :run_id)"
    )
    copy = (
        "INSERT INTO cubepi_messages (thread_id, seq, role, metadata, payload, run_id)"
        " SELECT thread_id, seq + :have, role, metadata, payload, run_id FROM cubepi_messages"
        " WHERE thread_id = :id AND seq <= :count"
    )

    def seeds(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of the conversation."""
        return [{"seq": seq, **to_row(m)} for seq, m in enumerate(conversation(), start=1)]
