"""The settings of a server's persistence, from its environment."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr

from threadlog.errors import MissingExtraError

try:
    from pydantic_settings import BaseSettings, SettingsConfigDict
except ModuleNotFoundError as error:
    raise MissingExtraError("pydantic-settings", "langgraph") from error


class PersistenceSettings(BaseSettings):
    """What `open_persistence` opens; each field may come from the environment.

    A variable's name is the field's in capitals behind ``THREADLOG_``. An empty one counts as
    not set. Neither ``repr()`` nor an error shows a URI or an option.
    """

    model_config = SettingsConfigDict(
        env_prefix="THREADLOG_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        frozen=True,
    )

    checkpointer_scheme: str = "memory"
    """Decides what keeps the data: ``memory``, ``sqlite``, ``mysql``, or a registered one."""

    checkpointer_uri: SecretStr | None = None
    """Where the scheme's data is. One without a scheme is ignored."""

    checkpointer_options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """What else the scheme takes; in the environment a JSON object."""

    allow_ephemeral_metadata: bool = False
    """Whether the list of threads and runs may be in memory where the state of graphs is not."""

    ttl_sweep_seconds: float | None = Field(default=60.0, gt=0)
    """Seconds between two sweeps of threads whose time to live is over; None for no sweep."""

    if TYPE_CHECKING:  # for checkers, which do not know that a str becomes a SecretStr

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
            """Take what is given, and what is not from the environment.

            Args:
                checkpointer_scheme: see the field, as for the others.
                checkpointer_uri: a plain string will do.
                checkpointer_options: a dictionary.
                allow_ephemeral_metadata: true or false.
                ttl_sweep_seconds: seconds, or None.
                sources: those of pydantic-settings, such as ``_env_file``.

            Raises:
                pydantic.ValidationError: a value is of the wrong type, or a name is unknown.
            """
