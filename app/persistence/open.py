"""Open the checkpointer and the stores of a scheme."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from threadlog.errors import ConfigurationError
from threadlog.persistence.expire_threads import Expiring, expiring, sweep_every
from threadlog.persistence.registry import (
    METADATA_STORES,
    PERSISTENCES,
    CheckpointerSpec,
    Persistence,
    checked_scheme,
    checkpointer_builder,
)
from threadlog.persistence.schemes import MEMORY, memory_metadata_store

if TYPE_CHECKING:  # extras
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from threadlog.persistence.settings import PersistenceSettings

_LOG: Final = logging.getLogger(__name__)


@asynccontextmanager
async def open_checkpointer(
    uri: str | None = None,
    *,
    scheme: str | None = None,
    setup_schema: bool = True,
    options: dict[str, Any] | None = None,
) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
    """Open a checkpointer, which is closed at the end of the ``async with`` block.

    The scheme alone chooses the checkpointer; without a scheme it is in memory. A URI never
    chooses a database: ``memory`` ignores it. A URI without a scheme is logged as a warning,
    because a URI implies that the data should be persistent.

    Args:
        uri: the database's address; required by every scheme except ``memory``.
        scheme: a registered scheme, such as ``sqlite`` or ``mysql``.
        setup_schema: whether to create missing tables or indexes.
        options: further options of the scheme; threadlog's databases have
            ``min_pool_size``, ``max_pool_size``, ``retry_seconds`` and ``serde``.

    Raises:
        ConfigurationError: the scheme is unknown or for a database that this release does
            not support; the URI is missing or does not fit the scheme; an option is
            unknown; or ``setup_schema`` is neither True nor False.
        MissingExtraError: a package that the scheme needs is not installed.
        ThreadlogError: the database cannot be opened.
    """
    spec = _spec(scheme, uri, {"setup_schema": setup_schema, **(options or {})})
    async with checkpointer_builder(spec.scheme)(spec) as checkpointer:
        yield checkpointer


@asynccontextmanager
async def open_persistence(settings: "PersistenceSettings") -> AsyncIterator[Persistence]:
    """Open the checkpointer, metadata store and memory store of one scheme, on one engine.

    They are closed at the end of the ``async with`` block. Within the block, threads whose
    time to live has ended are expired every ``ttl_sweep_seconds`` of the settings.

    Raises:
        ConfigurationError: as `open_checkpointer`; or the scheme has no metadata store, so
            that the list of threads and runs would be lost at a restart, and the settings do
            not allow that. Nothing was opened.
        MissingExtraError: a package that the scheme needs is not installed.
        ThreadlogError: the database cannot be opened.
    """
    uri = settings.checkpointer_uri
    is_set = "checkpointer_scheme" in settings.model_fields_set
    scheme = settings.checkpointer_scheme if is_set else None
    spec = _spec(
        scheme,
        None if uri is None else uri.get_secret_value(),
        {"setup_schema": True, **settings.checkpointer_options},
    )
    build = PERSISTENCES.get(spec.scheme)
    ephemeral = settings.allow_ephemeral_metadata
    opened = build(spec) if build else _open_separately(spec, allow_ephemeral_metadata=ephemeral)
    async with opened as persistence:
        swept = expiring(persistence, separate=build is None)
        async with sweeping(swept, settings.ttl_sweep_seconds):
            yield persistence


def sweeping(store: Expiring | None, seconds: float | None) -> AbstractAsyncContextManager[None]:
    """Expire threads in the background of a block, unless an argument is None."""
    return nullcontext() if store is None or seconds is None else sweep_every(store, seconds)


def _spec(scheme: str | None, uri: str | None, options: dict[str, Any]) -> CheckpointerSpec:
    if scheme is None and uri is not None:
        # Without the URI, which may contain a password.
        _LOG.warning(
            "A URI without a scheme is ignored: all data is in memory and is lost when the process "
            "ends. Set the scheme too, such as scheme='mysql' or "
            "THREADLOG_CHECKPOINTER_SCHEME=mysql."
        )
    if not isinstance(setup_schema := options["setup_schema"], bool):
        raise ConfigurationError(
            f"The option 'setup_schema' must be true or false, not {setup_schema!r}."
        )
    return CheckpointerSpec(MEMORY if scheme is None else checked_scheme(scheme), uri, options)


@asynccontextmanager
async def _open_separately(
    spec: CheckpointerSpec, *, allow_ephemeral_metadata: bool
) -> AsyncIterator[Persistence]:
    build_checkpointer = checkpointer_builder(spec.scheme)
    build_metadata_store = METADATA_STORES.get(spec.scheme)
    if build_metadata_store is None:
        if not allow_ephemeral_metadata:
            raise ConfigurationError(
                f"The scheme {spec.scheme!r} has a checkpointer but no metadata store: the list of "
                "threads and runs would be lost at a restart, while the state of graphs stays. Use "
                "a scheme that has both, such as sqlite or mysql; add a metadata store with "
                "register_metadata_store(); or accept the loss with allow_ephemeral_metadata=True."
            )
        build_metadata_store = memory_metadata_store
    async with build_checkpointer(spec) as checkpointer, build_metadata_store(spec) as store:
        yield Persistence(checkpointer, store)
