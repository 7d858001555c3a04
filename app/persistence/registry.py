"""What is registered under each scheme: who builds a checkpointer, and who a metadata store."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from threadlog.errors import ConfigurationError

if TYPE_CHECKING:  # registering needs neither
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from threadlog.persistence.protocol import MetadataStoreProtocol

T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointerSpec:
    """What was asked for; a builder of a checkpointer or of a metadata store gets it.

    Its ``repr()`` shows the scheme alone: the others may hold a password.
    """

    scheme: str
    """The scheme, folded to lower case."""

    uri: str | None = field(default=None, repr=False)
    """Where the data is, in the words of whatever keeps it."""

    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """The rest; always with ``setup_schema``, whether tables or indexes are to be made."""

    @property
    def setup_schema(self) -> bool:
        """Whether tables or indexes that are missing are to be made."""
        return bool(self.options.get("setup_schema", True))

    def required_uri(self, example: str) -> str:
        """Give the URI.

        Args:
            example: what one looks like, for the error.

        Raises:
            ConfigurationError: there is none.
        """
        if not self.uri:
            raise ConfigurationError(
                f"The scheme {self.scheme!r} needs a URI, such as {example}. Give it as uri=, as "
                "checkpointer_uri in the settings, or in THREADLOG_CHECKPOINTER_URI."
            )
        return self.uri

    def known_options(self, *known: str) -> dict[str, Any]:
        """Give the options but for ``setup_schema``.

        Args:
            known: the names of those that the builder takes.

        Raises:
            ConfigurationError: there is another one.
        """
        options = {name: self.options[name] for name in self.options if name != "setup_schema"}
        unknown = sorted(options.keys() - set(known))
        if unknown:
            raise ConfigurationError(
                f"The scheme {self.scheme!r} does not know the option {unknown[0]!r}. It takes: "
                f"{', '.join(sorted({*known, 'setup_schema'}))}."
            )
        return options


@dataclass(frozen=True)
class Persistence:
    """What a server of agents keeps its data in: both of one scheme."""

    checkpointer: "BaseCheckpointSaver[Any]"
    """Keeps the state of graphs."""

    metadata_store: "MetadataStoreProtocol"
    """Keeps the rows of threads and runs."""


Builder: TypeAlias = Callable[[CheckpointerSpec], AbstractAsyncContextManager[T]]
CheckpointerBuilder: TypeAlias = "Builder[BaseCheckpointSaver[Any]]"
MetadataStoreBuilder: TypeAlias = "Builder[MetadataStoreProtocol]"
AnyBuilder = TypeVar("AnyBuilder", bound="Builder[Any]")


class Builders(Generic[T]):
    """The builders of one kind of thing, by scheme."""

    def __init__(self, thing: str, decorator: str) -> None:
        """Take what they build, and the name of the function that adds one."""
        self._thing = thing
        self._decorator = decorator
        self._by_scheme: dict[str, Builder[T]] = {}

    def add(self, scheme: str, builder: Builder[T]) -> None:
        """Register a builder, in place of an earlier one."""
        self._by_scheme[scheme] = builder

    def remove(self, scheme: str) -> None:
        """Forget the builder of a scheme, if there is one."""
        self._by_scheme.pop(scheme, None)

    def find(self, scheme: str) -> Builder[T] | None:
        """Give the builder of a scheme; None where there is none."""
        return self._by_scheme.get(scheme)

    def get(self, scheme: str) -> Builder[T]:
        """Give the builder of a scheme.

        Raises:
            ConfigurationError: there is none.
        """
        builder = self.find(scheme)
        if builder is None:
            raise ConfigurationError(
                f"There is no {self._thing} for the scheme {scheme!r}. Known schemes: "
                f"{', '.join(sorted(self._by_scheme))}. {self._decorator}() adds one."
            )
        return builder


CHECKPOINTERS: Final[Builders["BaseCheckpointSaver[Any]"]] = Builders(
    "checkpointer", "register_checkpointer"
)
METADATA_STORES: Final[Builders["MetadataStoreProtocol"]] = Builders(
    "metadata store", "register_metadata_store"
)
TOGETHER: Final[Builders[Persistence]] = Builders("pair of both", "register_together")
"""Those of schemes whose two halves share what they are opened on."""


def register_checkpointer(*schemes: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register what builds the checkpointer of one or more schemes.

    A decorator of a function that takes a `CheckpointerSpec` and gives an asynchronous context
    manager of a LangGraph ``BaseCheckpointSaver``. It takes the place of an earlier one, a
    built-in one too. A scheme is the same in upper and lower case.

    Raises:
        ConfigurationError: no scheme is given, or one is no name.
    """
    return _registering(CHECKPOINTERS, schemes, "register_checkpointer")


def register_metadata_store(*schemes: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register what builds the metadata store of one or more schemes.

    As `register_checkpointer`, for an asynchronous context manager of a
    `MetadataStoreProtocol`. The store is to be ready for use: nobody calls its ``setup()``.

    Raises:
        ConfigurationError: no scheme is given, or one is no name.
    """
    return _registering(METADATA_STORES, schemes, "register_metadata_store")


def checked_scheme(scheme: object) -> str:
    """Fold a scheme to lower case.

    Raises:
        ConfigurationError: it is no name. The error does not repeat a URL: it may hold a
            password.
    """
    if not isinstance(scheme, str) or not scheme:
        raise ConfigurationError(
            f"A scheme is a name such as 'mysql', not {'empty' if scheme == '' else type(scheme)}."
        )
    if ":" in scheme:
        raise ConfigurationError(
            "The scheme is a URL. Give its name alone, such as 'mysql', and the URL as the URI."
        )
    return scheme.casefold()


def _registering(
    builders: Builders[Any], schemes: tuple[str, ...], name: str
) -> Callable[[AnyBuilder], AnyBuilder]:
    if not schemes or not all(isinstance(scheme, str) for scheme in schemes):
        raise ConfigurationError(f"Name the schemes: @{name}('mydb').")
    folded = [checked_scheme(scheme) for scheme in schemes]

    def register(builder: AnyBuilder) -> AnyBuilder:
        for scheme in folded:
            builders.add(scheme, builder)
            # One half is another's now: the two share nothing any more.
            TOGETHER.remove(scheme)
        return builder

    return register
