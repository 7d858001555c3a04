"""Import conversations of other formats."""

from threadlog.importing.import_log import Conversation, import_into, parse_conversation
from threadlog.importing.read_file import read_file

__all__ = ["Conversation", "import_into", "parse_conversation", "read_file"]
