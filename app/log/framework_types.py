"""The classes of a checkpointer's arguments and results: threadlog's own or a framework's."""

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
SeqsT = TypeVar("SeqsT", default=list[int])
"""The declared result of `append`; None for a framework whose protocol returns nothing."""


@dataclass(frozen=True)
class FrameworkTypes(Generic[MessageT, RequestT, DataT]):
    """A checkpointer's classes of messages, questions, threads and errors."""

    messages: MessageCodec[MessageT]
    """Encodes and decodes the message classes."""

    request: type[RequestT]
    """The class of pending requests: a Pydantic model with a field ``question_id``."""

    data: Callable[..., DataT]
    """The result class of `load`, with ``messages``, ``extra`` and ``parent_thread_id``."""

    exceptions: ModuleType | None = None
    """A framework's exception classes, which callers catch by name."""

    brand: str = "Cubepi"
    """The part of their names that is ``Cubepi`` in threadlog's."""

    def convert_error(self, error: ThreadlogError, database: str) -> None:
        """Change an error's class to derive also from the framework's exception of that name.

        The error keeps its attributes, cause and traceback, and is caught as either class.
        Errors without a counterpart in the framework are unchanged.

        Args:
            error: the error to be raised.
            database: the name of the database, an attribute of the framework's error about
                corrupt rows.
        """
        if self.exceptions is None:
            return
        if isinstance(error, CheckpointCorruptionError):
            place = error.table if error.seq is None else f"{error.table}.seq={error.seq}"
            vars(error).update(backend=database, row_ref=place)
        error.__class__ = _both(type(error), self.exceptions, self.brand)


def _both(ours: type[ThreadlogError], theirs: ModuleType, brand: str) -> type[ThreadlogError]:
    """Return a class derived from `ours` and its counterpart, or its nearest base's."""
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
    """Rebuild a pickled error of both classes."""
    return restored(_both(ours, import_module(theirs), brand), args, attributes)
