"""The registered builders of checkpointers and metadata stores, by scheme."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from threadlog.errors import ConfigurationError

if TYPE_CHECKING:  # registration needs neither
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from threadlog.persistence.protocol import MetadataStoreProtocol

T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointerSpec:
    """The argument of a builder of a checkpointer or metadata store.

    Its ``repr()`` shows only the scheme: the other fields may contain a password.
    """

    scheme: str
    """The scheme in lower case."""

    uri: str | None = field(default=None, repr=False)
    """The database's address, in the scheme's own format."""

    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Further options; always with ``setup_schema``."""

    @property
    def setup_schema(self) -> bool:
        """True if missing tables or indexes are to be created."""
        return bool(self.options.get("setup_schema", True))

    def required_uri(self, example: str) -> str:
        """Return the URI.

        Args:
            example: an example of a URI, for the error.

        Raises:
            ConfigurationError: no URI was given.
        """
        if not self.uri:
            raise ConfigurationError(
                f"The scheme {self.scheme!r} needs a URI, such as {example}. Set it as uri=, as "
                "checkpointer_uri in the settings, or in THREADLOG_CHECKPOINTER_URI."
            )
        return self.uri

    def known_options(self, *known: str) -> dict[str, Any]:
        """Return the options without ``setup_schema``.

        Args:
            known: the names of the builder's options.

        Raises:
            ConfigurationError: an option has another name.
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
    """The checkpointer, the metadata store and the memory store of an agent server."""

    checkpointer: "BaseCheckpointSaver[Any]"
    """Stores the state of graphs."""

    metadata_store: "MetadataStoreProtocol"
    """Stores the rows of threads and runs."""

    store: "BaseStore | None" = None
    """Stores memories of graphs; None if the scheme is not one of threadlog's SQL databases."""


Builder: TypeAlias = Callable[[CheckpointerSpec], AbstractAsyncContextManager[T]]
CheckpointerBuilder: TypeAlias = "Builder[BaseCheckpointSaver[Any]]"
MetadataStoreBuilder: TypeAlias = "Builder[MetadataStoreProtocol]"
AnyBuilder = TypeVar("AnyBuilder", bound="Builder[Any]")


CHECKPOINTERS: Final[dict[str, CheckpointerBuilder]] = {}
METADATA_STORES: Final[dict[str, MetadataStoreBuilder]] = {}
PERSISTENCES: Final[dict[str, Builder[Persistence]]] = {}
"""Builders of schemes whose checkpointer and stores share one engine."""


def checkpointer_builder(scheme: str) -> CheckpointerBuilder:
    """Return the builder of a scheme's checkpointer.

    Raises:
        ConfigurationError: the scheme has no builder.
    """
    builder = CHECKPOINTERS.get(scheme)
    if builder is None:
        raise ConfigurationError(
            f"There is no checkpointer for the scheme {scheme!r}. Known schemes: "
            f"{', '.join(sorted(CHECKPOINTERS))}. Add one with register_checkpointer()."
        )
    return builder


def register_checkpointer(*schemes: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register the builder of the checkpointer of one or more schemes.

    Decorates a function that takes a `CheckpointerSpec` and returns an asynchronous context
    manager of a LangGraph ``BaseCheckpointSaver``. It replaces an earlier builder, also a
    built-in one. Schemes are case-insensitive.

    Raises:
        ConfigurationError: no scheme is given, or a scheme is not a name.
    """
    return _registering(CHECKPOINTERS, schemes, "register_checkpointer")


def register_metadata_store(*schemes: str) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register the builder of the metadata store of one or more schemes.

    As `register_checkpointer`, for an asynchronous context manager of a
    `MetadataStoreProtocol`. The store must be ready for use: its ``setup()`` is not called.

    Raises:
        ConfigurationError: no scheme is given, or a scheme is not a name.
    """
    return _registering(METADATA_STORES, schemes, "register_metadata_store")


def checked_scheme(scheme: object) -> str:
    """Return a scheme in lower case.

    Raises:
        ConfigurationError: it is not a name. The error does not repeat a URL, which may
            contain a password.
    """
    if not isinstance(scheme, str) or not scheme:
        raise ConfigurationError(
            f"A scheme is a name such as 'mysql', not {'empty' if scheme == '' else type(scheme)}."
        )
    if ":" in scheme:
        raise ConfigurationError(
            "The scheme is a URL. Use only its name, such as 'mysql', and pass the URL as the URI."
        )
    return scheme.casefold()


def _registering(
    builders: dict[str, Builder[Any]], schemes: tuple[str, ...], name: str
) -> Callable[[AnyBuilder], AnyBuilder]:
    if not schemes or not all(isinstance(scheme, str) for scheme in schemes):
        raise ConfigurationError(f"No scheme is given. Name the schemes: @{name}('mydb').")
    folded = [checked_scheme(scheme) for scheme in schemes]

    def register(builder: AnyBuilder) -> AnyBuilder:
        for scheme in folded:
            builders[scheme] = builder
            # One of the two was replaced: they no longer share an engine.
            PERSISTENCES.pop(scheme, None)
        return builder

    return register
