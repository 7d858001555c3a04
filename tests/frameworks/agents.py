"""Agents whose model is a script, so that no network is needed."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from tests.frameworks.framework import Framework

THREAD = "order-17"
QUESTION = {"questions": [{"key": "refund", "prompt": "Refund 20 euros?"}]}
INTERRUPTED = "The process died in this tool."


def says(framework: Framework, text: str) -> Any:
    """Return a model's turn that has only text."""
    return framework.module("providers.faux").faux_assistant_message(text)


def calls(framework: Framework, **arguments: dict[str, Any]) -> Any:
    """Return a model's turn that calls tools by name, with the id ``call-<name>``."""
    faux = framework.module("providers.faux")
    blocks = [
        faux.faux_tool_call(name, given, id=f"call-{name}") for name, given in arguments.items()
    ]
    return faux.faux_assistant_message(blocks, stop_reason="tool_use")


def model(framework: Framework, turns: Iterable[Any]) -> Any:
    """Return a model that plays these turns in order."""
    provider = framework.module("providers.faux").FauxProvider(provider_id="faux")
    provider.set_responses(list(turns))
    return provider.model("script")


def agent(framework: Framework, checkpointer: Any, turns: Iterable[Any], **more: Any) -> Any:
    """Create an agent whose conversation the checkpointer stores."""
    thread_id = more.pop("thread_id", THREAD)
    return framework.module().Agent(
        model=model(framework, turns), checkpointer=checkpointer, thread_id=thread_id, **more
    )


def track_tool(framework: Framework) -> Any:
    """Create a tool that returns where a parcel is."""

    async def track(order: int) -> str:
        """Return where an order is."""
        return f"Order {order} is in Köln."

    return framework.module().tool(track)


def refund_tool(framework: Framework) -> Any:
    """Create a tool that refunds money."""

    async def refund(euros: int) -> str:
        """Refund an amount of money."""
        return f"{euros} euros are on their way."

    return framework.module().tool(refund)


def asking_agent(
    framework: Framework, checkpointer: Any, turns: Iterable[Any], way: str, run_id: str
) -> Any:
    """Create an agent that asks a person.

    Args:
        framework: the framework.
        checkpointer: keeps the conversation and the question.
        turns: what its model says.
        way: ``"ask"``, by a tool of its model's; ``"approve"``, before every call of a tool.
        run_id: the run in which it asks.
    """
    hitl = framework.module("hitl")
    channel = hitl.CheckpointedChannel(checkpointer=checkpointer, thread_id=THREAD, run_id=run_id)
    more: dict[str, Any] = {"channel": channel}
    if way == "ask":
        more["tools"] = [hitl.ask_user_tool(channel)]
    else:
        more["tools"] = [refund_tool(framework), track_tool(framework)]
        more["middleware"] = [hitl.ConfirmToolCallMiddleware(channel)]
    return agent(framework, checkpointer, turns, **more)


async def until_it_asks(asking: Any, work: Awaitable[Any]) -> None:
    """Run an agent until it is done or asks, and let go of it there, as a process that ends."""

    async def listen(event: Any, signal: object) -> None:
        if event.type == "hitl_request":
            await asking.detach()

    asking.subscribe(listen)
    await asyncio.wait_for(work, 30)


async def states(checkpointer: Any, thread_id: str = THREAD) -> dict[str, str]:
    """Return the state of each of a thread's runs."""
    return {run.run_id: run.state for run in await checkpointer.runs(thread_id)}


async def log(checkpointer: Any, thread_id: str = THREAD) -> list[str]:
    """Return a thread's messages as lines."""
    return said((await checkpointer.load(thread_id)).messages)


def said(messages: Sequence[Any]) -> list[str]:
    """Return messages as lines: the role, and the text or the calls."""
    return [f"{m.role}: {' '.join(_words(block) for block in m.content)}" for m in messages]


def _words(block: Any) -> str:
    if block.type == "tool_call":
        shown = ", ".join(f"{name}={value!r}" for name, value in block.arguments.items())
        return f"{block.name}({shown})"
    return str(block.text)
