"""Import conversations of other formats."""

from threadlog.importing.import_log import Conversation, import_into, parse_line

__all__ = ["Conversation", "import_into", "parse_line"]
