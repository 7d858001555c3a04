"""Messages of a conversation, as Pydantic models.

Field for field the payload format of schema version 5 (that of cubeloop 0.15 and, but for
``id``, of cubepi 0.13): what either wrote loads here, and what is written here loads there.
Fields that this release does not know are kept, so that a newer writer's message survives
being read and written again.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]


class _Stored(BaseModel):
    """Configuration of everything that goes into a payload."""

    model_config = ConfigDict(extra="allow")


class TextContent(_Stored):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str = ""


class ImageContent(_Stored):
    """An image: a URL or base64 data in `source`, its media type beside it."""

    type: Literal["image"] = "image"
    source: str = ""
    media_type: str = ""


class ThinkingContent(_Stored):
    """What the model thought before it answered."""

    type: Literal["thinking"] = "thinking"
    thinking: str = ""


class ToolCall(_Stored):
    """The model's wish to call a tool; a `ToolResultMessage` with the same id answers it."""

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
    """What a person said, or the host in a person's place."""

    role: Literal["user"] = "user"
    content: list[Content]
    id: str = ""
    """The host's own id of the message; never filled in by threadlog."""
    timestamp: float | None = None
    """When it was said, in seconds since 1970 UTC."""
    metadata: JsonObject = Field(default_factory=dict)
    """The host's own values; kept in a column of their own too, for queries."""
    run_id: str | None = None
    """The run that the message belongs to."""


class AssistantMessage(_Stored):
    """What the model said, thought and asked tools to do."""

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
    """What a tool gave back."""

    role: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    tool_name: str
    content: list[Content]
    details: JsonValue = None
    """What the host keeps beside the text that the model sees."""
    is_error: bool = False
    id: str = ""
    timestamp: float | None = None
    metadata: JsonObject = Field(default_factory=dict)
    run_id: str | None = None


Message: TypeAlias = UserMessage | AssistantMessage | ToolResultMessage
