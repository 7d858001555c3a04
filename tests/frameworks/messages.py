"""Messages of the framework's own classes, made by the factories of threadlog's."""

from typing import Any

from tests.frameworks.framework import Framework
from tests.support.factories import AssistantFactory, ToolResultFactory, UserFactory


def conversation(framework: Framework, run_id: str | None = None) -> list[Any]:
    """Create a question, a model's turn and a tool's result, with every kind of content."""
    base = framework.module("providers.base")
    more: dict[str, Any] = {"run_id": run_id, "metadata": {"user": "é", "n": [1, None]}}
    made: dict[str, Any] = {
        "UserMessage": UserFactory(**more),
        "AssistantMessage": AssistantFactory(**more),
        "ToolResultMessage": ToolResultFactory(**more),
    }
    return [
        getattr(base, name).model_validate({**message.model_dump(), "timestamp": 1.5})
        for name, message in made.items()
    ]


def request(framework: Framework, kind: str = "approve") -> Any:
    """Create a question of a kind: ``confirm``, ``approve`` or ``ask``."""
    payloads: dict[str, dict[str, Any]] = {
        "confirm": {"prompt": "Sure?", "details": {"euros": 20.5}},
        "approve": {"tool_name": "refund", "tool_call_id": "call-1", "args": {"to": "Köln"}},
        "ask": {
            "questions": [{"key": "k", "prompt": "p", "options": [{"label": "l", "value": "v"}]}]
        },
    }
    given = {
        "question_id": f"question-{kind}",
        "thread_id": "t",
        "payload": {"kind": kind, **payloads[kind]},
        "created_at": 1763761234.567891,
        "timeout_seconds": 60,
    }
    return framework.module("hitl").HitlRequest.model_validate(given)
