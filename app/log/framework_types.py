"""The classes that a door takes and gives: threadlog's own, or those of a framework."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Generic, cast

from pydantic import BaseModel
from typing_extensions import TypeVar

from threadlog.errors import CheckpointCorruptionError, ThreadlogError, restored
from threadlog.log.hitl_request import HitlRequest
from threadlog.log.message_codec import MESSAGE_CODEC, MessageCodec, MessageT
from threadlog.log.results import CheckpointData
from threadlog.messages import Message

RequestT = TypeVar("RequestT", bound=BaseModel, default=HitlRequest)
DataT = TypeVar("DataT", default=CheckpointData[MessageT])


@dataclass(frozen=True)
class FrameworkTypes(Generic[MessageT, RequestT, DataT]):
    """What a checkpointer is to speak of messages, questions, threads and errors."""

    messages: MessageCodec[MessageT]
    """Encodes and decodes the message classes."""

    request: type[RequestT]
    """The class of pending requests: a Pydantic model with a field ``question_id``."""

    data: Callable[..., DataT]
    """What `load` gives, made of ``messages``, ``extra`` and ``parent_thread_id``."""

    exceptions: ModuleType | None = None
    """A framework's exception classes, which callers catch by name."""

    brand: str = "Cubepi"
    """What these have in their names where threadlog's have ``Cubepi``."""

    def say(self, error: ThreadlogError, database: str) -> None:
        """Make an error one of the framework's exceptions too, where that has its like.

        The error keeps its class, attributes, cause and traceback: its new class derives
        from both. Whoever catches either catches it.

        Args:
            error: what is being raised.
            database: the name of the database, which the framework's error about corrupt
                rows carries.
        """
        if self.exceptions is None:
            return
        if isinstance(error, CheckpointCorruptionError):
            place = error.table if error.seq is None else f"{error.table}.seq={error.seq}"
            vars(error).update(backend=database, row_ref=place)
        error.__class__ = _both(type(error), self.exceptions, self.brand)


def _both(ours: type[ThreadlogError], theirs: ModuleType, brand: str) -> type[ThreadlogError]:
    """Derive a class from one of ours and its like in the framework, or the nearest base's."""
    both = _DERIVED.get((ours, theirs))
    if both is None:
        both = _DERIVED[ours, theirs] = _derive(ours, theirs, brand)
    return both


_DERIVED: Final[dict[tuple[type[ThreadlogError], ModuleType], type[ThreadlogError]]] = {}


def _derive(ours: type[ThreadlogError], theirs: ModuleType, brand: str) -> type[ThreadlogError]:
    for base in ours.__mro__:
        like = getattr(theirs, base.__name__.replace("Cubepi", brand), None)
        if like is not None:
            namespace = {
                "__module__": ours.__module__,
                "__doc__": ours.__doc__,
                "__reduce__": lambda self: (
                    _restored,
                    (ours, theirs.__name__, brand, self.args, vars(self)),
                ),
            }
            return cast("type[ThreadlogError]", type(ours.__name__, (ours, like), namespace))
    return ours


VOCABULARY: Final = FrameworkTypes[Message, HitlRequest, CheckpointData[Message]](
    MESSAGE_CODEC, HitlRequest, CheckpointData
)
"""threadlog's own classes."""


def _restored(
    ours: type[ThreadlogError],
    theirs: str,
    brand: str,
    args: tuple[Any, ...],
    attributes: dict[str, Any],
) -> ThreadlogError:
    """Make an error again that was pickled, of both classes."""
    return restored(_both(ours, import_module(theirs), brand), args, attributes)
