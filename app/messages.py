"""Messages of a conversation, as Pydantic models.

The fields are those of the payload format of schema version 5 (that of cubeloop 0.15 and,
except for ``id``, of cubepi 0.13): each package reads the messages of the others. Unknown
fields are kept, so that a newer writer's message survives being read and written again.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]


class _Stored(BaseModel):
    """Base class of all models in a payload."""

    model_config = ConfigDict(extra="allow")


class TextContent(_Stored):
    """Text."""

    type: Literal["text"] = "text"
    text: str = ""


class ImageContent(_Stored):
    """An image: a URL or base64 data in `source`, and its media type."""

    type: Literal["image"] = "image"
    source: str = ""
    media_type: str = ""


class ThinkingContent(_Stored):
    """The model's reasoning before its answer."""

    type: Literal["thinking"] = "thinking"
    thinking: str = ""


class ToolCall(_Stored):
    """The model's call of a tool; a `ToolResultMessage` with the same id is its result."""

    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: JsonObject


Content: TypeAlias = Annotated[TextContent | ImageContent, Field(discriminator="type")]
AssistantContent: TypeAlias = Annotated[
    TextContent | ImageContent | ThinkingContent | ToolCall, Field(discriminator="type")
]


class Usage(_Stored):
    """Tokens that a model call used."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


class UserMessage(_Stored):
    """A message of a person, or of the application in a person's place."""

    role: Literal["user"] = "user"
    content: list[Content]
    id: str = ""
    """The application's own id of the message; threadlog never sets it."""
    timestamp: float | None = None
    """Time of the message, in seconds since 1970 UTC."""
    metadata: JsonObject = Field(default_factory=dict)
    """The application's own values; also stored in a separate column, for queries."""
    run_id: str | None = None
    """The run that the message belongs to."""


class AssistantMessage(_Stored):
    """A model's text, reasoning and tool calls."""

    role: Literal["assistant"] = "assistant"
    content: list[AssistantContent]
    id: str = ""
    stop_reason: str = "stop"
    error_message: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    status_code: int | None = None
    retry_after: float | None = None
    tokens_in: int | None = None
    context_window: int | None = None
    usage: Usage | None = None
    timestamp: float | None = None
    provider_id: str = ""
    model_id: str = ""
    response_id: str | None = None
    metadata: JsonObject = Field(default_factory=dict)
    run_id: str | None = None


class ToolResultMessage(_Stored):
    """The result of a tool call."""

    role: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    tool_name: str
    content: list[Content]
    details: JsonValue = None
    """The application's data in addition to the text that the model sees."""
    is_error: bool = False
    id: str = ""
    timestamp: float | None = None
    metadata: JsonObject = Field(default_factory=dict)
    run_id: str | None = None


Message: TypeAlias = UserMessage | AssistantMessage | ToolResultMessage
