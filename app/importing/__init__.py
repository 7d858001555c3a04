"""Import conversations of other formats, and exports of threadlog."""

from threadlog.importing.import_log import Conversation, import_into, parse_conversation
from threadlog.importing.read_file import read_file
from threadlog.importing.stage_export import StagedExport, is_export, staged_export

__all__ = [
    "Conversation",
    "StagedExport",
    "import_into",
    "is_export",
    "parse_conversation",
    "read_file",
    "staged_export",
]
