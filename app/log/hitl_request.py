"""Questions of an agent to a person (human in the loop), as Pydantic models."""

import time

from pydantic import BaseModel, ConfigDict, Field

from threadlog.messages import JsonObject


class HitlRequest(BaseModel):
    """A question that waits for a person's answer.

    Field for field what cubeloop 0.15 and cubepi 0.13 store, so that either reads what the
    other wrote. Fields that this release does not know are kept.
    """

    model_config = ConfigDict(extra="allow")

    question_id: str
    """Names the question; an answer is kept under it."""

    payload: JsonObject
    """What is asked: any JSON object. The frameworks' own have a ``kind``: ``confirm``,
    ``approve`` or ``ask``.
    """

    thread_id: str | None = None
    created_at: float = Field(default_factory=time.time)
    """When it was asked, in seconds since 1970 UTC."""

    timeout_seconds: float | None = None
    """How long the agent waits for an answer; None is for ever."""
