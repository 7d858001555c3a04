"""Factories of messages and of rows."""

import factory

from threadlog.log.hitl_request import HitlRequest
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
from threadlog.models import HitlAnswer, Message, Run, SchemaVersion, Thread


class TextFactory(factory.Factory[TextContent]):
    """A piece of text."""

    class Meta:
        """The class that the factory builds."""

        model = TextContent

    text = factory.Faker("sentence")


class ImageFactory(factory.Factory[ImageContent]):
    """An image by its URL."""

    class Meta:
        """The class that the factory builds."""

        model = ImageContent

    source = factory.Faker("image_url")
    media_type = "image/png"


class ThinkingFactory(factory.Factory[ThinkingContent]):
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


class UserFactory(factory.Factory[UserMessage]):
    """A person's message of one text."""

    class Meta:
        """The class that the factory builds."""

        model = UserMessage

    content = factory.List([factory.SubFactory(TextFactory)])


class AssistantFactory(factory.Factory[AssistantMessage]):
    """A model's message that thinks, speaks and calls a tool."""

    class Meta:
        """The class that the factory builds."""

        model = AssistantMessage

    content = factory.List(
        [
            factory.SubFactory(ThinkingFactory),
            factory.SubFactory(TextFactory),
            factory.SubFactory(ToolCallFactory),
        ]
    )
    usage = factory.LazyFunction(lambda: Usage(input_tokens=10, output_tokens=20))


class ToolResultFactory(factory.Factory[ToolResultMessage]):
    """A tool's result."""

    class Meta:
        """The class that the factory builds."""

        model = ToolResultMessage

    tool_call_id = factory.Sequence(lambda n: f"call-{n}")
    tool_name = "weather"
    content = factory.List([factory.SubFactory(TextFactory), factory.SubFactory(ImageFactory)])
    details = factory.LazyFunction(lambda: {"degrees": [21.5, 19]})


class HitlRequestFactory(factory.Factory[HitlRequest]):
    """A question whether a tool may be called."""

    class Meta:
        """The class that the factory builds."""

        model = HitlRequest

    question_id = factory.Sequence(lambda n: f"question-{n}")
    payload = factory.LazyFunction(
        lambda: {"kind": "approve", "tool_name": "refund", "tool_call_id": "c", "args": {"n": 2}}
    )


class ThreadRowFactory(factory.alchemy.SQLAlchemyModelFactory):
    """A row of a thread, as an application's ORM would write it."""

    class Meta:
        """The class that the factory builds."""

        model = Thread

    thread_id = factory.Sequence(lambda n: f"thread-{n}")
    extra = factory.LazyFunction(dict)


class MessageRowFactory(factory.alchemy.SQLAlchemyModelFactory):
    """A row of a message whose payload is not meant to be decoded."""

    class Meta:
        """The class that the factory builds."""

        model = Message

    thread_id = factory.Sequence(lambda n: f"thread-{n}")
    seq = 1
    role = "user"
    metadata_ = factory.LazyFunction(dict)
    payload = b"\x80"


class RunRowFactory(factory.alchemy.SQLAlchemyModelFactory):
    """A row of an open run."""

    class Meta:
        """The class that the factory builds."""

        model = Run

    thread_id = factory.Sequence(lambda n: f"thread-{n}")
    run_id = factory.Sequence(lambda n: f"run-{n}")


class HitlAnswerRowFactory(factory.alchemy.SQLAlchemyModelFactory):
    """A row of an answer."""

    class Meta:
        """The class that the factory builds."""

        model = HitlAnswer

    thread_id = factory.Sequence(lambda n: f"thread-{n}")
    run_id = ""
    question_id = factory.Sequence(lambda n: f"question-{n}")
    answer = "yes"


class SchemaVersionRowFactory(factory.alchemy.SQLAlchemyModelFactory):
    """The row of the version table."""

    class Meta:
        """The class that the factory builds."""

        model = SchemaVersion

    version = 5
