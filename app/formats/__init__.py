"""Convert conversations between threadlog's messages and the formats of other libraries."""

from threadlog.formats.anthropic import from_anthropic, to_anthropic
from threadlog.formats.any_format import read_conversation
from threadlog.formats.langchain import from_langchain, to_langchain
from threadlog.formats.openai_chat import from_openai_chat, to_openai_chat
from threadlog.formats.openai_responses import from_openai_responses, to_openai_responses
from threadlog.formats.sharegpt import from_sharegpt, to_sharegpt
from threadlog.formats.transcript import Transcript

__all__ = [
    "Transcript",
    "from_anthropic",
    "from_langchain",
    "from_openai_chat",
    "from_openai_responses",
    "from_sharegpt",
    "read_conversation",
    "to_anthropic",
    "to_langchain",
    "to_openai_chat",
    "to_openai_responses",
    "to_sharegpt",
]
