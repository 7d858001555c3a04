"""Factories of messages and threads, by factory-boy, for an application's tests."""

from threadlog.errors import MissingExtraError

try:
    import factory
except ModuleNotFoundError as error:
    if error.name != "factory":
        raise
    raise MissingExtraError("factory-boy", "testing") from error

from threadlog.messages import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)
from threadlog.models import Thread

__all__ = [
    "AssistantMessageFactory",
    "ImageContentFactory",
    "TextContentFactory",
    "ThinkingContentFactory",
    "ThreadFactory",
    "ToolCallFactory",
    "ToolResultMessageFactory",
    "UserMessageFactory",
]


class TextContentFactory(factory.Factory[TextContent]):
    """A piece of text."""

    class Meta:
        """The class that the factory builds."""

        model = TextContent

    text = factory.Faker("sentence")


class ImageContentFactory(factory.Factory[ImageContent]):
    """An image by its URL."""

    class Meta:
        """The class that the factory builds."""

        model = ImageContent

    source = factory.Faker("image_url")
    media_type = "image/png"


class ThinkingContentFactory(factory.Factory[ThinkingContent]):
    """A thought."""

    class Meta:
        """The class that the factory builds."""

        model = ThinkingContent

    thinking = factory.Faker("sentence")


class ToolCallFactory(factory.Factory[ToolCall]):
    """A call of a weather tool."""

    class Meta:
        """The class that the factory builds."""

        model = ToolCall

    id = factory.Sequence(lambda n: f"call-{n}")
    name = "weather"
    arguments = factory.LazyFunction(lambda: {"city": "Köln", "days": 2})


class UserMessageFactory(factory.Factory[UserMessage]):
    """A person's message of one text."""

    class Meta:
        """The class that the factory builds."""

        model = UserMessage

    content = factory.List([factory.SubFactory(TextContentFactory)])


class AssistantMessageFactory(factory.Factory[AssistantMessage]):
    """A model's message that thinks, speaks and calls a tool."""

    class Meta:
        """The class that the factory builds."""

        model = AssistantMessage

    content = factory.List(
        [
            factory.SubFactory(ThinkingContentFactory),
            factory.SubFactory(TextContentFactory),
            factory.SubFactory(ToolCallFactory),
        ]
    )
    usage = factory.LazyFunction(lambda: Usage(input_tokens=10, output_tokens=20))


class ToolResultMessageFactory(factory.Factory[ToolResultMessage]):
    """A tool's result."""

    class Meta:
        """The class that the factory builds."""

        model = ToolResultMessage

    tool_call_id = factory.Sequence(lambda n: f"call-{n}")
    tool_name = "weather"
    content = factory.List(
        [factory.SubFactory(TextContentFactory), factory.SubFactory(ImageContentFactory)]
    )
    details = factory.LazyFunction(lambda: {"degrees": [21.5, 19]})


class ThreadFactory(factory.alchemy.SQLAlchemyModelFactory):
    """A row of a thread; set its ``_meta.sqlalchemy_session`` to create rows."""

    class Meta:
        """The class that the factory builds."""

        model = Thread

    thread_id = factory.Sequence(lambda n: f"thread-{n}")
    extra = factory.LazyFunction(dict)
