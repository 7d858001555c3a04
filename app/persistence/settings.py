"""The settings of an agent server's persistence, read from the environment."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr

from threadlog.errors import MissingExtraError

try:
    from pydantic_settings import BaseSettings, SettingsConfigDict
except ModuleNotFoundError as error:
    raise MissingExtraError("pydantic-settings", "langgraph") from error


class PersistenceSettings(BaseSettings):
    """The settings of `open_persistence`; each field can be set in the environment.

    A variable's name is ``THREADLOG_`` and the field's name in capitals. An empty variable
    counts as not set. Neither ``repr()`` nor an error shows a URI or an option.
    """

    model_config = SettingsConfigDict(
        env_prefix="THREADLOG_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        frozen=True,
    )

    checkpointer_scheme: str = "memory"
    """The scheme: ``memory``, ``sqlite``, ``mysql``, or another registered scheme."""

    checkpointer_uri: SecretStr | None = None
    """The database's address. A URI without a scheme is ignored."""

    checkpointer_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Further options of the scheme; in the environment a JSON object."""

    allow_ephemeral_metadata: bool = False
    """True to allow the list of threads and runs in memory if the state of graphs is not."""

    ttl_sweep_seconds: float | None = Field(default=60.0, gt=0)
    """Seconds between two sweeps of expired threads; None for no sweep."""

    if TYPE_CHECKING:  # for type checkers: a str is converted to SecretStr

        def __init__(
            self,
            *,
            checkpointer_scheme: str = ...,
            checkpointer_uri: str | SecretStr | None = ...,
            checkpointer_options: dict[str, Any] = ...,
            allow_ephemeral_metadata: bool = ...,
            ttl_sweep_seconds: float | None = ...,
            **sources: Any,
        ) -> None:
            """Create from the given values, and otherwise from the environment.

            Args:
                checkpointer_scheme: see the field, as for the others.
                checkpointer_uri: a plain string is accepted.
                checkpointer_options: a dictionary.
                allow_ephemeral_metadata: true or false.
                ttl_sweep_seconds: seconds, or None.
                sources: options of pydantic-settings, such as ``_env_file``.

            Raises:
                pydantic.ValidationError: a value is of the wrong type, or a name is unknown.
            """
