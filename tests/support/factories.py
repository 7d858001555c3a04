"""Factories of messages and of rows."""

import factory

from threadlog.log.hitl_request import HitlRequest
from threadlog.models import HitlAnswer, Message, Run, SchemaVersion
from threadlog.testing.factories import (
    AssistantMessageFactory as AssistantFactory,
)
from threadlog.testing.factories import (
    ImageContentFactory as ImageFactory,
)
from threadlog.testing.factories import (
    TextContentFactory as TextFactory,
)
from threadlog.testing.factories import (
    ThinkingContentFactory as ThinkingFactory,
)
from threadlog.testing.factories import (
    ThreadFactory as ThreadRowFactory,
)
from threadlog.testing.factories import (
    ToolCallFactory,
)
from threadlog.testing.factories import (
    ToolResultMessageFactory as ToolResultFactory,
)
from threadlog.testing.factories import (
    UserMessageFactory as UserFactory,
)

__all__ = [
    "AssistantFactory",
    "HitlAnswerRowFactory",
    "HitlRequestFactory",
    "ImageFactory",
    "MessageRowFactory",
    "RunRowFactory",
    "SchemaVersionRowFactory",
    "TextFactory",
    "ThinkingFactory",
    "ThreadRowFactory",
    "ToolCallFactory",
    "ToolResultFactory",
    "UserFactory",
]


class HitlRequestFactory(factory.Factory[HitlRequest]):
    """A question whether a tool may be called."""

    class Meta:
        """The class that the factory builds."""

        model = HitlRequest

    question_id = factory.Sequence(lambda n: f"question-{n}")
    payload = factory.LazyFunction(
        lambda: {"kind": "approve", "tool_name": "refund", "tool_call_id": "c", "args": {"n": 2}}
    )


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
