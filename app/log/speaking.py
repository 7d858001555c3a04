"""What the doors to the message log have besides: the classes that they speak."""

from typing import Any, Generic, cast

from threadlog.errors import ThreadlogError
from threadlog.log.framework_types import VOCABULARY, DataT, FrameworkTypes, RequestT
from threadlog.log.message_codec import MessageT
from threadlog.runtime.door import Door


class SpeakingDoor(Door, Generic[MessageT, RequestT, DataT]):
    """A door whose messages, questions and errors are of classes that may be a framework's."""

    vocabulary: FrameworkTypes[MessageT, RequestT, DataT] = cast("Any", VOCABULARY)
    """The classes of messages, questions and threads; a subclass may speak of others."""

    def _say(self, error: ThreadlogError) -> None:
        self.vocabulary.say(error, self._sessions.backend.word)
