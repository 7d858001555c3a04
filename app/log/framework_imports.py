"""Import the classes of agent frameworks, which differ only in their names."""

from importlib import import_module
from typing import Any

from threadlog.errors import MissingExtraError
from threadlog.log.framework_types import FrameworkTypes
from threadlog.log.message_codec import MessageCodec


def import_framework_types(framework: str) -> FrameworkTypes[Any, Any, Any]:
    """Return the classes of a framework with the module layout of cubeloop.

    Args:
        framework: the name of its package, and of threadlog's extra.

    Raises:
        MissingExtraError: the framework is not installed.
    """
    try:
        checkpointer = import_module(f"{framework}.checkpointer")
        exceptions = import_module(f"{framework}.checkpointer.exceptions")
        hitl = import_module(f"{framework}.hitl.types")
        providers = import_module(f"{framework}.providers.base")
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or framework, framework) from error
    return FrameworkTypes(
        messages=MessageCodec(
            providers.UserMessage, providers.AssistantMessage, providers.ToolResultMessage
        ),
        request=hitl.HitlRequest,
        data=checkpointer.CheckpointData,
        exceptions=exceptions,
        brand=framework.capitalize(),
    )
