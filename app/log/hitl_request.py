"""Questions of an agent to a person (human in the loop), as Pydantic models."""

import time

from pydantic import BaseModel, ConfigDict, Field

from threadlog.messages import JsonObject


class HitlRequest(BaseModel):
    """A question that waits for a person's answer.

    The fields are those that cubeloop 0.15 and cubepi 0.13 store, so that each package reads
    the requests of the others. Unknown fields are kept.
    """

    model_config = ConfigDict(extra="allow")

    question_id: str
    """The id of the question and of its answer."""

    payload: JsonObject
    """The question: any JSON object. The frameworks' own have a ``kind``: ``confirm``,
    ``approve`` or ``ask``.
    """

    thread_id: str | None = None
    created_at: float = Field(default_factory=time.time)
    """Time of the question, in seconds since 1970 UTC."""

    timeout_seconds: float | None = None
    """Seconds that the agent waits for an answer; None for no limit."""
