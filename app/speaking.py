"""What the doors to the message log have besides: the classes that they speak."""

from typing import Any, Generic, cast

from threadlog.codec import MessageT
from threadlog.door import Door
from threadlog.errors import ThreadlogError
from threadlog.vocabulary import VOCABULARY, DataT, RequestT, Vocabulary


class SpeakingDoor(Door, Generic[MessageT, RequestT, DataT]):
    """A door whose messages, questions and errors are of classes that may be a framework's."""

    vocabulary: Vocabulary[MessageT, RequestT, DataT] = cast("Any", VOCABULARY)
    """The classes of messages, questions and threads; a subclass may speak of others."""

    def _say(self, error: ThreadlogError) -> None:
        self.vocabulary.say(error, self._sessions.backend.word)
